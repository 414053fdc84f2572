//! What goes to PostgreSQL and comes back: round trips, byte for byte, and bytes that are not ours.

mod random;

use pyledger_core::chain::Head;
use pyledger_core::copy::{HEADER, TRAILER};
use pyledger_core::journal::{self, Rows, Stored};
use pyledger_core::nouns::{Counters, Row, RowKind, Text};
use pyledger_core::refusal::Refusal;
use pyledger_core::state::{Account, Hold, Ledger};
use pyledger_core::{chain, json, merkle, tables};
use random::Random;

fn counters(random: &mut Random) -> Counters {
    Counters {
        debits_pending: random.amount(),
        debits_posted: random.amount(),
        credits_pending: random.amount(),
        credits_posted: random.amount(),
    }
}

fn row(random: &mut Random, recorded_ns: u64, text: &mut Vec<u8>) -> Row {
    let kind = RowKind::ALL[random.below(8) as usize];
    let finals: Vec<Refusal> = Refusal::ALL.iter().copied().filter(|one| one.is_final()).collect();
    let declined = random.below(3) == 0;
    let status = if declined { finals[random.below(finals.len() as u64) as usize].number() } else { 0 };
    let touches = kind >= RowKind::Transfer && !declined;
    let start = text.len() as u32;
    let reference = ["", "Rechnung 7", "\"é\n😀\""][random.below(3) as usize];
    let metadata = ["", "{}", r#"{"a":[1,2.5,null,"x\ny"],"b":{"c":true}}"#][random.below(3) as usize];
    text.extend_from_slice(reference.as_bytes());
    text.extend_from_slice(metadata.as_bytes());
    Row {
        recorded_ns,
        id: random.amount().max(1),
        tenant: 1 + random.below(1 << 31) as u32 % 2_147_483_647,
        kind,
        status,
        debit: random.amount(),
        credit: random.amount(),
        amount: random.amount(),
        target: random.amount(),
        ledger: random.below(1 << 31) as u32,
        code: random.next() as u16,
        flags: random.next() as u16,
        timeout_s: random.below(1 << 31) as u32,
        effective_ns: random.next() >> (1 + random.below(63)),
        fingerprint: random.amount().to_le_bytes(),
        text: Text { start, reference_bytes: reference.len() as u16, metadata_bytes: metadata.len() as u16 },
        debit_after: if touches { counters(random) } else { Counters::default() },
        credit_after: if touches { counters(random) } else { Counters::default() },
    }
}

fn batch(random: &mut Random, count: u64) -> (Vec<Row>, Vec<u8>) {
    let mut text = Vec::new();
    let rows = (0..count).map(|place| row(random, 1_790_812_800_000_000_000 + place, &mut text)).collect();
    (rows, text)
}

/// Rows, their hashes and their texts.
type Read = (Vec<Stored>, Vec<merkle::Hash>, Vec<u8>);

fn read(copy: &[u8]) -> Result<Read, pyledger_core::Corrupt> {
    let (mut stored, mut leaves, mut text) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = Rows::new(copy)?;
    while let Some((one, leaf)) = rows.next(&mut text)? {
        stored.push(one);
        leaves.push(leaf);
    }
    Ok((stored, leaves, text))
}

/// What `record_send` makes of a COPY tuple: the same fields, each after the number of its type.
fn as_record(tuple: &[u8]) -> Vec<u8> {
    const TYPES: [u32; 21] =
        [21, 20, 20, 2_950, 23, 21, 21, 2_950, 2_950, 1_700, 2_950, 23, 23, 23, 23, 20, 17, 25, 25, 17, 17];
    let mut record = 21_u32.to_be_bytes().to_vec();
    let mut at = 2;
    for oid in TYPES {
        let length = i32::from_be_bytes(tuple[at..at + 4].try_into().expect("4 bytes"));
        let end = at + 4 + usize::try_from(length).unwrap_or(0);
        record.extend_from_slice(&oid.to_be_bytes());
        record.extend_from_slice(&tuple[at..end]);
        at = end;
    }
    assert_eq!(at, tuple.len());
    record
}

#[test]
fn rows_come_back_as_they_went() {
    let mut random = Random::new(1);
    for count in [1, 2, 3, 100] {
        let (rows, text) = batch(&mut random, count);
        let previous = Head { seq: 41, hash: [9; 32], last_ns: 1 };
        let sealed = journal::seal(3, &previous, &rows, &text).expect("it has rows");
        let (stored, leaves, text_read) = read(&sealed.copy).expect("what was written");
        assert_eq!(stored.iter().map(|one| one.row).collect::<Vec<_>>(), rows);
        assert_eq!(text_read, text);
        assert!(stored.iter().all(|one| one.shard == 3 && one.seq == 42));
        assert_eq!(merkle::root(&leaves), sealed.link.root);
        assert_eq!(chain::hash(&previous.hash, 3, &sealed.link), sealed.head.hash);
        assert_eq!((sealed.link.rows, sealed.head.seq), (count as u32, 42));
        for row in &rows {
            let mut tuple = Vec::new();
            journal::encode(3, 42, row, &text, &mut tuple);
            let mut record_text = Vec::new();
            let one = journal::decode_record(&as_record(&tuple), &mut record_text).expect("what was written");
            assert_eq!(Row { text: row.text, ..one.row }, *row);
            assert_eq!(journal::texts(&one.row, &record_text), journal::texts(row, &text));
        }
    }
    assert_eq!(journal::seal(0, &Head::GENESIS, &[], &[]), None);
}

#[test]
fn the_smallest_and_the_largest_row() {
    let least = Row {
        recorded_ns: 1,
        id: 1,
        tenant: 1,
        kind: RowKind::Ledger,
        status: 0,
        debit: 0,
        credit: 0,
        amount: 0,
        target: 0,
        ledger: 0,
        code: 0,
        flags: 0,
        timeout_s: 0,
        effective_ns: 0,
        fingerprint: [0; 16],
        text: Text::default(),
        debit_after: Counters::default(),
        credit_after: Counters::default(),
    };
    let all = Counters {
        debits_pending: u128::MAX,
        debits_posted: u128::MAX,
        credits_pending: u128::MAX,
        credits_posted: u128::MAX,
    };
    let most = Row {
        recorded_ns: i64::MAX as u64,
        id: u128::MAX,
        tenant: i32::MAX as u32,
        kind: RowKind::Expire,
        debit: u128::MAX,
        credit: u128::MAX,
        amount: u128::MAX,
        target: u128::MAX,
        ledger: i32::MAX as u32,
        code: u16::MAX,
        flags: u16::MAX,
        timeout_s: i32::MAX as u32,
        effective_ns: i64::MAX as u64,
        fingerprint: [0xff; 16],
        debit_after: all,
        credit_after: all,
        ..least
    };
    let copy = journal::seal(0, &Head::GENESIS, &[least, most], &[]).expect("rows").copy;
    let (stored, _, _) = read(&copy).expect("what was written");
    assert_eq!((stored[0].row, stored[1].row), (least, most));
}

/// Whatever happens to the bytes, reading them returns; and what it accepts it writes back to the byte.
#[test]
fn changed_bytes_never_panic() {
    let mut random = Random::new(2);
    let (rows, text) = batch(&mut random, 3);
    let copy = journal::seal(0, &Head::GENESIS, &rows, &text).expect("rows").copy;
    let record = as_record(&copy[HEADER.len()..copy.len() - TRAILER.len()][..tuple_length(&rows[0], &text)]);
    for _ in 0..40_000 {
        let changed = random.mutated(&copy);
        if let Ok((stored, _, text)) = read(&changed) {
            let mut again = HEADER.to_vec();
            for one in &stored {
                journal::encode(one.shard, one.seq, &one.row, &text, &mut again);
            }
            again.extend_from_slice(&TRAILER);
            assert_eq!(again, changed);
        }
        let changed = random.mutated(&record);
        let mut text = Vec::new();
        if let Ok(one) = journal::decode_record(&changed, &mut text) {
            let mut again = Vec::new();
            journal::encode(one.shard, one.seq, &one.row, &text, &mut again);
            assert_eq!(as_record(&again), changed);
        }
    }
    for end in 0..copy.len() {
        assert!(read(&copy[..end]).is_err(), "cut at {end}");
    }
    for end in 0..record.len() {
        assert!(journal::decode_record(&record[..end], &mut Vec::new()).is_err(), "cut at {end}");
    }
}

fn tuple_length(row: &Row, text: &[u8]) -> usize {
    let mut tuple = Vec::new();
    journal::encode(0, 1, row, text, &mut tuple);
    tuple.len()
}

#[test]
fn checkpoint_tables_come_back_as_they_went() {
    let mut random = Random::new(3);
    let ledgers: Vec<Ledger> = (1..4)
        .map(|number| Ledger {
            tenant: 5,
            number,
            exponent: 2,
            asset: format!("A{number}"),
            created_ns: number as u64,
            imported_ns: 0,
        })
        .collect();
    let accounts: Vec<(u32, Account)> = (0..50)
        .map(|slot| {
            let counters = counters(&mut random);
            let (id, allowance) = (random.amount(), random.amount());
            let account = Account {
                id,
                counters,
                allowance,
                created_ns: random.next() >> 1,
                effective_ns: random.next() >> 1,
                tenant: 5,
                ledger: 1,
                code: random.next() as u16,
                flags: random.next() as u16,
            };
            (slot, account)
        })
        .collect();
    let holds: Vec<Hold> = (1..50)
        .map(|number| Hold {
            id: number,
            debit: random.amount(),
            credit: random.amount(),
            amount: random.amount(),
            group_id: random.amount() * u128::from(random.below(2)),
            recorded_ns: number as u64,
            expires_ns: random.next() >> 1,
            tenant: 5,
            ledger: 1,
            code: 1,
            flags: 2,
        })
        .collect();
    let (ledger_copy, account_copy, hold_copy) = (
        tables::encode_ledgers(2, &ledgers),
        tables::encode_accounts(2, &accounts),
        tables::encode_holds(2, &holds),
    );
    let (mut ledgers_read, mut accounts_read, mut holds_read) = (Vec::new(), Vec::new(), Vec::new());
    let count = tables::decode_ledgers(2, &ledger_copy, |one| {
        ledgers_read.push(one);
        Ok(())
    });
    assert_eq!((count, ledgers_read), (Ok(3), ledgers));
    let count = tables::decode_accounts(2, &account_copy, |one| {
        accounts_read.push(one);
        Ok(())
    });
    assert_eq!((count, accounts_read), (Ok(50), accounts));
    let count = tables::decode_holds(2, &hold_copy, |one| {
        holds_read.push(one);
        Ok(())
    });
    assert_eq!((count, holds_read), (Ok(49), holds));
    assert!(tables::decode_holds(3, &hold_copy, |_| Ok(())).is_err(), "another shard's");
    assert_eq!(tables::decode_holds(2, &tables::encode_holds(2, &[]), |_| Ok(())), Ok(0));
    for _ in 0..10_000 {
        let _ = tables::decode_ledgers(2, &random.mutated(&ledger_copy), |_| Ok(()));
        let _ = tables::decode_accounts(2, &random.mutated(&account_copy), |_| Ok(()));
        let _ = tables::decode_holds(2, &random.mutated(&hold_copy), |_| Ok(()));
    }
}

/// The same for a client's bytes: mutated requests are decoded or refused, and what is decoded is storable.
#[test]
fn changed_requests_never_panic() {
    let mut random = Random::new(4);
    let body = br#"{"transfers":[{"id":"0192f0c1-2b3c-7def-8abc-0123456789ab","debit_account_id":"00000000-0000-0000-0000-000000000001","credit_account_id":"00000000-0000-0000-0000-000000000002","amount":"12","ledger":840,"code":1,"flags":["linked","pending"],"timeout_s":9,"metadata":{"b":[1,2.5e-9,null],"a":"\u00e9\ud83d\ude00"},"reference":"Rechnung","effective_at":"2026-10-01T00:00:00.5+02:00"}]}"#;
    let mut accepted = 0;
    for _ in 0..40_000 {
        let changed = random.mutated(body);
        if let Ok(request) = json::transfers(&changed, 1) {
            accepted += 1;
            let text = std::str::from_utf8(&request.text).expect("UTF-8");
            assert!(!text.contains('\0'));
            for command in &request.commands {
                assert!(i64::try_from(command.effective_ns).is_ok() && i32::try_from(command.ledger).is_ok());
                assert!(i32::try_from(command.timeout_s).is_ok());
            }
        }
    }
    assert!(accepted > 500, "the mutations are too wild to test anything: {accepted}");
}
