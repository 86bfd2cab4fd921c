//! What a writer knows of limits and credit, so that it need not read it again.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernel::{ChangeSet, Map};
use crate::model::{Budget, BudgetKey, BudgetWindow, Lot, WindowKey};

/// Budgets, windows and lots that were read or written. They are right as long as nobody else writes: the store forgets
/// them where somebody may have.
#[derive(Debug, Default)]
pub(super) struct KnownCredit {
    /// All budgets of a scope.
    pub(super) budgets: Map<BudgetKey, Arc<Vec<Arc<Budget>>>>,
    pub(super) windows: Map<WindowKey, BudgetWindow>,
    /// All lots of an account with free money, by number.
    pub(super) live_lots: Map<i64, Arc<BTreeMap<u32, Arc<Lot>>>>,
}

impl KnownCredit {
    /// How many rows it has of the kind it has most of.
    pub(super) fn len(&self) -> usize {
        self.budgets.len().max(self.windows.len()).max(self.live_lots.len())
    }

    /// Takes over what was just made durable.
    pub(super) fn learn(&mut self, changes: &ChangeSet) {
        for budget in &changes.budgets {
            self.budgets.remove(&BudgetKey { account: budget.account_number, scope: budget.scope.clone() });
        }
        self.windows.extend(changes.windows.iter().map(|window| (window.key, *window)));
        for key in &changes.pruned.windows {
            self.windows.remove(key);
        }
        for lot in changes.new_lots.iter().chain(&changes.lots) {
            let Some(lots) = self.live_lots.get_mut(&lot.account_number).map(Arc::make_mut) else { continue };
            if lot.free.is_zero() {
                lots.remove(&lot.number);
            } else {
                lots.insert(lot.number, Arc::clone(lot));
            }
        }
    }
}
