//! How statements find rows by their numbers.

/// The name of a row's account, as a column: primary key.
macro_rules! account_name {
    ($table:literal) => {
        concat!(
            "(select a.id from prepaid.accounts a where a.bucket = $1 and a.account_no between ",
            $table,
            ".account_no and ",
            $table,
            ".account_no order by a.account_no limit 1)"
        )
    };
}

/// The row of a table with the number that `x` names first: primary key.
macro_rules! place_of {
    ($table:literal, $number:literal) => {
        concat!(
            " cross join lateral (select n.ctid place from prepaid.",
            $table,
            " n where n.bucket = $1 and n.",
            $number,
            " = x.",
            $number,
            " limit 1) f where t.bucket = $1 and t.ctid = f.place"
        )
    };
}

/// The same row, of a database that is not spread over machines: a fifth faster, because it is found and changed at once. The
/// bucket is a column of `x`, so nothing is found before `x` names it; and a range is nothing the planner would remember.
macro_rules! row_of {
    ($number:literal) => {
        concat!(
            " where (t.bucket = $1) is true and t.bucket = x.bucket and t.",
            $number,
            " between x.",
            $number,
            " and x.",
            $number
        )
    };
}

/// How rows to be changed are found, of tables that have one index for it: in general, and on one machine.
pub(super) static ROWS: [(&str, &str); 2] =
    [(place_of!("balances", "account_no"), row_of!("account_no")), (place_of!("holds", "hold_no"), row_of!("hold_no"))];
