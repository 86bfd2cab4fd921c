//! What providers say of tools that they ran themselves, where several say it alike.

use serde::Deserialize;

use crate::metering::observe::json::Count;
use crate::tokens::Remark;

/// Anthropic's `server_tool_use`, which OpenRouter says, too. Fetching a page is free.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ServerTools {
    #[serde(default)]
    pub(super) web_search_requests: Count,
    #[serde(default)]
    code_execution_requests: Count,
}

/// xAI's `server_side_tool_usage_details`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ServerSideTools {
    #[serde(default)]
    web_search_calls: Count,
    #[serde(default)]
    x_search_calls: Count,
    #[serde(default)]
    code_interpreter_calls: Count,
    #[serde(default)]
    file_search_calls: Count,
    #[serde(default)]
    document_search_calls: Count,
    #[serde(default)]
    image_generation_calls: Count,
}

impl ServerTools {
    /// The web searches; other tools are remarked.
    pub(super) fn searches(&self, remark: &mut impl FnMut(Remark)) -> Option<u64> {
        uncounted([self.code_execution_requests], remark);
        self.web_search_requests.read(remark)
    }
}

impl ServerSideTools {
    /// The web searches; other tools are remarked.
    pub(super) fn searches(&self, remark: &mut impl FnMut(Remark)) -> Option<u64> {
        let others = [
            self.x_search_calls,
            self.code_interpreter_calls,
            self.file_search_calls,
            self.document_search_calls,
            self.image_generation_calls,
        ];
        uncounted(others, remark);
        self.web_search_calls.read(remark)
    }
}

/// Remarks tools that ran and that no class counts.
pub(super) fn uncounted(calls: impl IntoIterator<Item = Count>, remark: &mut impl FnMut(Remark)) {
    for count in calls {
        if count.read(remark).is_some_and(|count| count > 0) {
            remark(Remark::ToolsUncounted);
        }
    }
}
