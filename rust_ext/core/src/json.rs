//! Requests in JSON, decoded straight into commands.
//!
//! Every object is read by one loop over one table of fields; what is not in the table, stands twice or
//! has another type makes the whole request `Malformed`. What the bytes alone cannot tell (a zero ledger,
//! flags that exclude each other) is left to the engine, so that both forms of a transfer get the same
//! refusal. `null` is the same as leaving a field out.

mod cells;
pub mod columns;
pub mod depth;
mod field;
mod fields;
pub mod layout;
pub mod lines;
pub mod metadata;
pub mod reader;
mod values;
pub mod write;

use fields::{Fields, Given};
use reader::{Kind, Reader};

use crate::fingerprint;
use crate::malformed::{Code, Malformed};
use crate::nouns::{AMOUNT_ALL, BATCH_ROWS_MAX, Command, CommandKind, KEY_BYTES_MAX, transfer_flags as flag};
use crate::request::Request;
use crate::uuid;

/// What a resolution does with its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Moves what is held.
    Post,
    /// Releases what is held.
    Void,
    /// Moves back what was moved.
    Reverse,
}

/// Who asks, and by which route: what is needed to make an id of an Idempotency-Key.
struct Asker<'k> {
    tenant: u32,
    route: &'static str,
    key: Option<&'k str>,
}

impl Asker<'_> {
    /// The id of a single command: its own, or one made of the key; exactly one of them must be there.
    fn id(&self, given: &Given<'_>) -> Result<u128, Malformed> {
        match (given.id, self.key) {
            (Some(id), None) => Ok(id),
            (None, Some(key)) if key.is_empty() || key.len() > KEY_BYTES_MAX => {
                Err(Malformed::new(Code::InvalidKey))
            }
            (None, Some(key)) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(Malformed::new(Code::InvalidKey))
            }
            (None, Some(key)) => Ok(uuid::of_key(self.tenant, self.route, key)),
            _ => Err(Malformed::new(Code::IdOrKeyNeeded)),
        }
    }
}

/// One ledger; its command's id is derived from tenant and number.
pub fn ledger(body: &[u8], tenant: u32) -> Result<Request, Malformed> {
    single(body, &fields::LEDGER, |given| {
        let number = given.number.ok_or_else(|| values::missing("id"))?;
        if given.asset.is_empty() {
            return Err(values::missing("asset"));
        }
        let exponent = given.exponent.ok_or_else(|| values::missing("exponent"))?;
        let id = uuid::of_ledger(tenant, number);
        Ok(Command { kind: CommandKind::Ledger, ledger: number, code: exponent, ..given.command(id, tenant) })
    })
}

/// One account.
pub fn account(body: &[u8], tenant: u32, key: Option<&str>) -> Result<Request, Malformed> {
    let asker = Asker { tenant, route: "accounts", key };
    single(body, &fields::ACCOUNT, |given| Ok(account_command(given, asker.id(given)?, tenant)))
}

/// `{"accounts": [...]}`, each with its id.
pub fn accounts(body: &[u8], tenant: u32) -> Result<Request, Malformed> {
    batch(body, "accounts", &fields::ACCOUNT, |given| {
        let id = given.id.ok_or_else(|| values::missing("id"))?;
        Ok(account_command(given, id, tenant))
    })
}

/// One transfer.
pub fn transfer(body: &[u8], tenant: u32, key: Option<&str>) -> Result<Request, Malformed> {
    let asker = Asker { tenant, route: "transfers", key };
    single(body, &fields::TRANSFER, |given| transfer_command(given, asker.id(given)?, tenant))
}

/// `{"transfers": [...]}`, each with its id.
pub fn transfers(body: &[u8], tenant: u32) -> Result<Request, Malformed> {
    batch(body, "transfers", &fields::TRANSFER, |given| {
        let id = given.id.ok_or_else(|| values::missing("id"))?;
        transfer_command(given, id, tenant)
    })
}

/// What a post, a void or a reversal of the transfer `target` says; nothing at all is an empty object.
pub fn resolution(
    body: &[u8],
    tenant: u32,
    action: Action,
    target: &str,
    key: Option<&str>,
) -> Result<Request, Malformed> {
    let target = uuid::parse(target.as_bytes()).ok_or_else(|| {
        Malformed::because(Code::InvalidId, "The transfer in the path is not a UUID of 36 characters.")
    })?;
    let (fields, route, action_flag) = match action {
        Action::Post => (&fields::RESOLUTION, "transfers/post", flag::POST_PENDING),
        Action::Void => (&fields::RESOLUTION, "transfers/void", flag::VOID_PENDING),
        Action::Reverse => (&fields::REVERSAL, "transfers/reverse", flag::REVERSE),
    };
    let asker = Asker { tenant, route, key };
    let body = if body.is_empty() { b"{}" } else { body };
    single(body, fields, |given| {
        let flags = action_flag | if given.group { flag::GROUP } else { 0 };
        let amount = given.amount.unwrap_or(AMOUNT_ALL);
        Ok(Command { amount, target, flags, ..given.command(asker.id(given)?, tenant) })
    })
}

/// The canonical form of an object on its own, as metadata; `None` if it is not that.
pub fn canonical_metadata(text: &str) -> Option<String> {
    let mut reader = Reader::new(text.as_bytes()).ok()?;
    let mut out = Vec::new();
    if reader.kind().ok()? != Kind::Object {
        return None;
    }
    metadata::read(&mut reader, &mut out).ok()?;
    reader.end().ok()?;
    String::from_utf8(out).ok()
}

fn account_command(given: &Given<'_>, id: u128, tenant: u32) -> Command {
    let amount = given.allowance.unwrap_or(0);
    Command { kind: CommandKind::Account, amount, ..given.command(id, tenant) }
}

/// Flags under which an amount left out means all of it.
const WITHOUT_AMOUNT: u16 =
    flag::POST_PENDING | flag::VOID_PENDING | flag::REVERSE | flag::BALANCING_DEBIT | flag::BALANCING_CREDIT;

fn transfer_command(given: &Given<'_>, id: u128, tenant: u32) -> Result<Command, Malformed> {
    let mut flags = given.flags;
    let target = match (given.pending, given.reverses) {
        (Some(_), Some(_)) => {
            let detail = "A transfer resolves a pending_id or reverses another, not both.";
            return Err(Malformed::because(Code::InvalidFlags, detail));
        }
        (Some(pending), None) => pending,
        (None, Some(reversed)) => {
            flags |= flag::REVERSE;
            reversed
        }
        (None, None) => 0,
    };
    let amount = match given.amount {
        Some(amount) => amount,
        None if flags & WITHOUT_AMOUNT != 0 => AMOUNT_ALL,
        None => return Err(values::missing("amount")),
    };
    Ok(Command { amount, target, flags, ..given.command(id, tenant) })
}

/// Reads a body that is one object.
fn single(
    body: &[u8],
    fields: &Fields,
    command: impl Fn(&Given<'_>) -> Result<Command, Malformed>,
) -> Result<Request, Malformed> {
    let mut reader = Reader::new(body)?;
    let mut request = Request { commands: Vec::with_capacity(1), text: Vec::new() };
    item(&mut reader, fields, &mut Vec::new(), &mut request, &command)?;
    reader.end()?;
    Ok(request)
}

/// Reads a body that is an object with one array of objects.
fn batch(
    body: &[u8],
    name: &str,
    fields: &Fields,
    command: impl Fn(&Given<'_>) -> Result<Command, Malformed>,
) -> Result<Request, Malformed> {
    let mut reader = Reader::new(body)?;
    if reader.kind()? != Kind::Object {
        return Err(Malformed::because(Code::WrongType, "The body must be an object."));
    }
    reader.open();
    let mut request = None;
    while let Some(key) = reader.key(request.is_none())? {
        if key != name {
            return Err(values::unknown(&key));
        }
        if request.is_some() {
            return Err(values::twice(name));
        }
        request = Some(items(&mut reader, name, body.len(), fields, &command)?);
    }
    reader.end()?;
    request.ok_or_else(|| values::missing(name))
}

fn items(
    reader: &mut Reader<'_>,
    name: &str,
    body_bytes: usize,
    fields: &Fields,
    command: &impl Fn(&Given<'_>) -> Result<Command, Malformed>,
) -> Result<Request, Malformed> {
    /// No object with an id is shorter, so this many at most fit into the body.
    const ITEM_BYTES_MIN: usize = 44;
    if reader.kind()? != Kind::Array {
        return Err(values::wrong_type(name, "an array"));
    }
    reader.open();
    let rows = (body_bytes / ITEM_BYTES_MIN).min(BATCH_ROWS_MAX);
    let mut request = Request { commands: Vec::with_capacity(rows), text: Vec::new() };
    let mut scratch = Vec::new();
    while reader.element(request.commands.is_empty())? {
        let index = request.commands.len();
        if index == BATCH_ROWS_MAX {
            return Err(Malformed::new(Code::BatchTooLarge));
        }
        item(reader, fields, &mut scratch, &mut request, command).map_err(|malformed| malformed.at(index))?;
    }
    if request.commands.is_empty() { Err(Malformed::new(Code::BatchEmpty)) } else { Ok(request) }
}

/// Reads one object and appends its command. `scratch` is a buffer for metadata, used again for each.
fn item(
    reader: &mut Reader<'_>,
    fields: &Fields,
    scratch: &mut Vec<u8>,
    request: &mut Request,
    command: &impl Fn(&Given<'_>) -> Result<Command, Malformed>,
) -> Result<(), Malformed> {
    scratch.clear();
    let given = fields.read(reader, scratch)?;
    let command = command(&given)?;
    let reference =
        if command.kind == CommandKind::Ledger { given.asset.as_bytes() } else { given.reference.as_bytes() };
    fingerprint::push(request, command, reference, scratch);
    Ok(())
}
