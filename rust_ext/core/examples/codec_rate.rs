//! How many transfers a second the codecs read and write, each alone on one thread.
//!
//! `cargo run --release --example codec_rate`: batches of 8,190 usual transfers, best of a few runs.

use std::hint::black_box;
use std::time::Instant;

use pyledger_core::chain::Head;
use pyledger_core::journal::{self, Rows};
use pyledger_core::nouns::{BATCH_ROWS_MAX, Command, Counters, Outcome, Row, RowKind};
use pyledger_core::reply::{self, Form};
use pyledger_core::show::Side;
use pyledger_core::{Batch, Old, binary, fingerprint, json, uuid};

const NOW_NS: u64 = 1_800_000_000_000_000_000;

fn main() {
    let body = body();
    println!("JSON: {} bytes a transfer", body.len() / BATCH_ROWS_MAX);
    let request = json::transfers(&body, 1).expect("well-formed");
    rate("decode JSON", || json::transfers(&body, 1).expect("well-formed").commands.len());
    let mut records = Vec::new();
    for command in &request.commands {
        records.extend_from_slice(&fingerprint::record(command));
        records.extend_from_slice(&[0; 28]);
    }
    rate("decode records", || binary::transfers(&records, 1).expect("well-formed").commands.len());
    let rows: Vec<Row> = request.commands.iter().enumerate().map(|(place, one)| row(one, place)).collect();
    let sealed = journal::seal(0, &Head::GENESIS, &rows, &request.text).expect("rows");
    println!("COPY: {} bytes a row", sealed.copy.len() / rows.len());
    rate("encode and hash rows", || {
        journal::seal(0, &Head::GENESIS, &rows, &request.text).expect("rows").copy.len()
    });
    rate("decode and hash rows", || {
        let (mut stream, mut text) = (Rows::new(&sealed.copy).expect("a stream"), Vec::new());
        while stream.next(&mut text).expect("rows").is_some() {}
        text.len()
    });
    let outcomes: Vec<Outcome> = (0..rows.len() as u32).map(Outcome::Recorded).collect();
    let batch = Batch { rows, text: request.text.clone(), outcomes, missing: None };
    let old = Old::default();
    let side = |_, _| Some(Side { flags: 0, allowance: 0 });
    for (name, form) in [("reply in JSON", Form::Json), ("reply in records", Form::Binary)] {
        rate(name, || {
            let answer = reply::answer(form, &request.commands, &batch.outcomes, &batch, &old, &side);
            answer.expect("accounts are there").body.len()
        });
    }
}

fn rate(name: &str, work: impl Fn() -> usize) {
    let best = (0..20).map(|_| {
        let start = Instant::now();
        black_box(work());
        start.elapsed()
    });
    let best = best.min().expect("some runs");
    let rows = u32::try_from(BATCH_ROWS_MAX).expect("a batch is bounded");
    println!("{name}: {:.2} million a second", f64::from(rows) / best.as_secs_f64() / 1e6);
}

fn body() -> Vec<u8> {
    let transfers: Vec<String> = (1..=BATCH_ROWS_MAX as u128)
        .map(|number| {
            let id = uuid::string((0x0192_f0c1_2b3c_7def_8abc << 48) + number);
            let (debit, credit) = (uuid::string(number % 10_000), uuid::string(number % 9_999 + 10_000));
            format!(
                r#"{{"id":"{id}","debit_account_id":"{debit}","credit_account_id":"{credit}","amount":"{}","ledger":978,"code":1}}"#,
                number * 37
            )
        })
        .collect();
    format!(r#"{{"transfers":[{}]}}"#, transfers.join(",")).into_bytes()
}

fn row(command: &Command, place: usize) -> Row {
    let counters =
        Counters { debits_posted: command.amount * 1_000, credits_posted: 77, ..Counters::default() };
    Row {
        recorded_ns: NOW_NS + place as u64,
        id: command.id,
        tenant: 1,
        kind: RowKind::Transfer,
        status: 0,
        debit: command.debit,
        credit: command.credit,
        amount: command.amount,
        target: 0,
        ledger: command.ledger,
        code: command.code,
        flags: 0,
        timeout_s: 0,
        effective_ns: 0,
        fingerprint: command.fingerprint,
        text: command.text,
        debit_after: counters,
        credit_after: counters,
    }
}
