//! Tables of what was billed and what was true.

use comfy_table::{CellAlignment, Table, presets};
use prepaid::metering::Bill;
use prepaid::{AccountHandle, Amount, Asset, OpenHold};

use crate::crowd::Crowd;
use crate::stage::Offer;

/// One attempt at a request.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) hold: String,
    account: String,
    model: String,
    ended: String,
    asset: Asset,
    held: Amount,
    billed: Amount,
    truth: Truth,
}

/// What the provider charged, and what that promises of the bill.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Truth {
    Exactly(Amount),
    Within5Percent(Amount),
    /// The truth lies between the bounds that the bill reports.
    Between {
        low: Amount,
        truth: Amount,
        high: Amount,
    },
    /// A part of it, which was recorded in time.
    AtMost(Amount),
    /// Nothing may be billed.
    Nothing,
}

impl Line {
    /// A hold that was made.
    pub(crate) fn begun(offer: &Offer, hold: &OpenHold, ended: &str) -> Self {
        Self { held: hold.amount(), ..Self::denied(hold.account(), &hold.id().to_string(), offer, ended) }
    }

    /// A request that got no hold.
    pub(crate) fn denied(account: &AccountHandle, hold: &str, offer: &Offer, ended: &str) -> Self {
        Self {
            hold: hold.to_owned(),
            account: account.id().to_string(),
            model: offer.tariff.model().to_owned(),
            ended: ended.to_owned(),
            asset: account.ledger().asset(),
            held: Amount::ZERO,
            billed: Amount::ZERO,
            truth: Truth::Nothing,
        }
    }

    pub(crate) fn holding(self, held: Amount) -> Self {
        Self { held, ..self }
    }

    pub(crate) fn ended(self, ended: &str) -> Self {
        Self { ended: ended.to_owned(), ..self }
    }

    /// What it came to.
    pub(crate) fn billed(self, bill: &Bill, truth: Truth) -> Self {
        let hold = bill.receipt.hold.as_ref();
        let held = hold.map_or(self.held, |hold| hold.held_at_close);
        Self { held, billed: hold.map_or(Amount::ZERO, |hold| hold.cost().cost), truth, ..self }
    }

    /// The same where there is no bill.
    pub(crate) fn closed(self, billed: Amount, truth: Truth) -> Self {
        Self { billed, truth, ..self }
    }

    /// How far the bill is from the truth.
    fn error(&self) -> String {
        let Some(truth) = self.truth.amount().filter(|truth| !truth.is_zero()) else {
            return String::new();
        };
        let (billed, truth) = (i128::from(self.billed.minor_units()), i128::from(truth.minor_units()));
        let hundredths = (billed - truth) * 10_000 / truth;
        let sign = if hundredths < 0 { "-" } else { "" };
        format!("{sign}{}.{:02}", hundredths.abs() / 100, hundredths.abs() % 100)
    }

    fn keeps_its_promise(&self) -> bool {
        let billed = self.billed.minor_units();
        match self.truth {
            Truth::Exactly(truth) => self.billed == truth,
            Truth::Within5Percent(truth) => {
                billed.abs_diff(truth.minor_units()) * 20 <= truth.minor_units().unsigned_abs()
            }
            Truth::Between { low, truth, high } => low <= truth && truth <= high,
            // What a count may be off by is in it.
            Truth::AtMost(truth) => billed > 0 && billed * 20 <= truth.minor_units() * 21,
            Truth::Nothing => self.billed.is_zero(),
        }
    }
}

impl Truth {
    fn amount(self) -> Option<Amount> {
        match self {
            Self::Exactly(truth) | Self::Within5Percent(truth) | Self::AtMost(truth) | Self::Between { truth, .. } => {
                Some(truth)
            }
            Self::Nothing => None,
        }
    }
}

pub(crate) fn of_lines(lines: &[Line]) -> Table {
    let mut table =
        table(&["request", "account", "model", "how it ended", "held", "billed", "true cost", "error %"], 4);
    for line in lines {
        let amount = |amount: Amount| line.asset.format(amount);
        table.add_row([
            line.hold.clone(),
            line.account.clone(),
            line.model.clone(),
            line.ended.clone(),
            amount(line.held),
            amount(line.billed),
            line.truth.amount().map(amount).unwrap_or_default(),
            line.error(),
        ]);
    }
    table
}

pub(crate) fn of_crowd(crowd: &[Crowd], asset: Asset) -> Table {
    let mut table = table(&["API", "streams", "events", "tokens", "billed", "true cost", "differ"], 1);
    for each in crowd {
        table.add_row([
            each.api.clone(),
            each.streams.to_string(),
            each.events.to_string(),
            each.tokens.to_string(),
            asset.format(each.billed),
            asset.format(each.truth),
            each.differ.len().to_string(),
        ]);
    }
    table
}

/// What was promised and is not so.
pub(crate) fn broken_promises(lines: &[Line], crowd: &[Crowd]) -> Vec<String> {
    let lines = lines.iter().filter(|line| !line.keeps_its_promise());
    let lines =
        lines.map(|line| format!("{} of {} is billed {}: {:?}", line.hold, line.account, line.billed, line.truth));
    lines.chain(crowd.iter().flat_map(|each| each.differ.iter().cloned())).collect()
}

/// A table whose columns from `numbers` on are numbers.
fn table(columns: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY).set_header(columns);
    table.column_iter_mut().skip(numbers).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
    table
}
