//! The journal's store in DynamoDB: one table, one item per document, strongly consistent reads, transactional writes.
//!
//! | attribute | type | what |
//! |---|---|---|
//! | `pk` | S | the key; partition key |
//! | `kind` | S | the key's text before the first `#`, for people |
//! | `version` | N | [`StoredDocument::version`] |
//! | `body` | S | the document, JSON |
//! | `due_at`, `due_bucket` | N, S | the document's time in its list in milliseconds, and the list, which is the hash key of the sparse index `due`; both absent if it is in none |
//! | `expires_at` | N | unix seconds, the table's TTL attribute; absent when it is kept |
//!
//! It must never say that something was not written if it may have been: a write without an answer is repeated under the same client
//! request token, for which DynamoDB answers as it did the first time (DynamoDB, "TransactWriteItems", `ClientRequestToken`), and if there
//! is still no answer the outcome is [`CommitError::Unknown`].

mod failure;
mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, TransactWriteItem};
use ring::rand::{SecureRandom, SystemRandom};
pub use table::{TableError, create_table};

use self::failure::{RequestFailure, classify_commit, classify_read};
use super::memory::{check_puts, next_version};
use super::store::{CommitError, Key, List, Listed, MAX_BATCH, Put, Store, StoreError, StoredDocument};
use crate::clock::{Clock, Timestamp};

/// The sparse index of what is due.
pub const DUE_INDEX: &str = "due";
/// How often one write is sent, under one token.
const MAX_COMMIT_ATTEMPTS: u32 = 3;
/// How often the rest of a batch is asked for.
const MAX_READ_ATTEMPTS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);

type Item = HashMap<String, AttributeValue>;

/// Documents in a DynamoDB table.
pub struct DynamoStore {
    client: Client,
    table: String,
    clock: Arc<dyn Clock>,
}

impl DynamoStore {
    /// Uses this table ([`create_table`] shows its shape). Documents expire by this clock.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { client, table: table.into(), clock }
    }

    async fn load_one(&self, key: &Key) -> Result<Option<StoredDocument>, StoreError> {
        let response = self.client.get_item().table_name(&self.table).key("pk", text(key.as_str())).consistent_read(true).send().await;
        let item = response.map_err(|error| classify_read(&error))?.item;
        item.map_or(Ok(None), |item| self.read_item(&item))
    }

    /// Reads several documents. The answer may leave some out under load, and then says which (DynamoDB, "BatchGetItem",
    /// `UnprocessedKeys`).
    async fn load_many(&self, keys: &BTreeSet<&Key>) -> Result<BTreeMap<String, StoredDocument>, StoreError> {
        let mut found = BTreeMap::new();
        let mut wanted: Vec<Item> = keys.iter().map(|key| HashMap::from([("pk".to_owned(), text(key.as_str()))])).collect();
        for round in 0..MAX_READ_ATTEMPTS {
            backoff_before(round).await;
            let request = KeysAndAttributes::builder().set_keys(Some(std::mem::take(&mut wanted))).consistent_read(true).build();
            let request = request.map_err(|_| StoreError::Refused("request"))?;
            let response =
                self.client.batch_get_item().request_items(&self.table, request).send().await.map_err(|error| classify_read(&error))?;
            // Tables are answered under the name or the ARN that they were asked for; only one was.
            for item in response.responses.into_iter().flat_map(HashMap::into_values).flatten() {
                let key = item.get("pk").and_then(|pk| pk.as_s().ok()).ok_or(StoreError::Corrupt)?;
                if let Some(stored) = self.read_item(&item)? {
                    found.insert(key.clone(), stored);
                }
            }
            wanted = response.unprocessed_keys.into_iter().flat_map(HashMap::into_values).flat_map(|rest| rest.keys).collect();
            if wanted.is_empty() {
                return Ok(found);
            }
        }
        Err(StoreError::Unavailable)
    }

    /// An item as a document; `None` if it has expired.
    fn read_item(&self, item: &Item) -> Result<Option<StoredDocument>, StoreError> {
        let number = |name: &str| item.get(name).map(|value| value.as_n().map_err(|_| StoreError::Corrupt)).transpose();
        if let Some(expiry) = number("expires_at")? {
            let expiry: i64 = expiry.parse().map_err(|_| StoreError::Corrupt)?;
            if expiry <= self.clock.now().secs() {
                return Ok(None);
            }
        }
        let version = number("version")?.ok_or(StoreError::Corrupt)?.parse().map_err(|_| StoreError::Corrupt)?;
        let body = item.get("body").and_then(|body| body.as_s().ok()).ok_or(StoreError::Corrupt)?;
        Ok(Some(StoredDocument { version, body: body.clone() }))
    }

    fn write_request(&self, put: &Put) -> Result<TransactWriteItem, CommitError> {
        let builder = aws_sdk_dynamodb::types::Put::builder()
            .table_name(&self.table)
            .set_item(Some(to_item(put)))
            .expression_attribute_names("#e", "expires_at")
            .expression_attribute_values(":now", number(self.clock.now().secs()));
        let builder = match put.expected_version {
            None => builder.condition_expression("attribute_not_exists(#pk) OR #e <= :now").expression_attribute_names("#pk", "pk"),
            Some(version) => builder
                .condition_expression("#v = :v AND (attribute_not_exists(#e) OR #e > :now)")
                .expression_attribute_names("#v", "version")
                .expression_attribute_values(":v", number(version)),
        };
        let write = builder.build().map_err(|_| CommitError::NotWritten(StoreError::Refused("request")))?;
        Ok(TransactWriteItem::builder().put(write).build())
    }

    async fn send_once(&self, writes: &[TransactWriteItem], token: &str) -> Result<(), RequestFailure> {
        // The SDK's own retries are off here: they would hide that an earlier attempt may have been carried out.
        let once = aws_sdk_dynamodb::config::Builder::new().retry_config(RetryConfig::disabled());
        let call = self.client.transact_write_items().set_transact_items(Some(writes.to_vec())).client_request_token(token);
        call.customize().config_override(once).send().await.map(|_| ()).map_err(|error| classify_commit(&error))
    }
}

#[async_trait]
impl Store for DynamoStore {
    async fn load(&self, keys: &[Key]) -> Result<Vec<Option<StoredDocument>>, StoreError> {
        match keys {
            [] => Ok(Vec::new()),
            [key] => Ok(vec![self.load_one(key).await?]),
            _ if keys.len() > MAX_BATCH => Err(StoreError::Refused("too many documents in one read")),
            _ => {
                let found = self.load_many(&keys.iter().collect()).await?;
                Ok(keys.iter().map(|key| found.get(key.as_str()).cloned()).collect())
            }
        }
    }

    async fn commit(&self, puts: &[Put]) -> Result<(), CommitError> {
        check_puts(puts)?;
        if puts.is_empty() {
            return Ok(());
        }
        let writes = puts.iter().map(|put| self.write_request(put)).collect::<Result<Vec<_>, _>>()?;
        let token = request_token().ok_or(CommitError::NotWritten(StoreError::Unavailable))?;
        let mut may_be_written = false;
        for attempt in 0..MAX_COMMIT_ATTEMPTS {
            backoff_before(attempt).await;
            match self.send_once(&writes, &token).await {
                Ok(()) => return Ok(()),
                // For the token of a write that was carried out DynamoDB answers with success, so a failed condition comes from another
                // writer.
                Err(RequestFailure::Condition) => return Err(CommitError::Conflict),
                // This one may be our own earlier attempt, still in progress.
                Err(RequestFailure::Contention) if !may_be_written => return Err(CommitError::Conflict),
                Err(RequestFailure::Refused(why)) if !may_be_written => return Err(CommitError::NotWritten(StoreError::Refused(why))),
                Err(RequestFailure::Contention | RequestFailure::Refused(_) | RequestFailure::NotApplied) => {}
                Err(RequestFailure::Unknown) => may_be_written = true,
            }
        }
        Err(if may_be_written { CommitError::Unknown } else { CommitError::NotWritten(StoreError::Unavailable) })
    }

    async fn list(&self, list: List, until: Timestamp, after: Option<&Listed>, limit: usize) -> Result<Vec<Listed>, StoreError> {
        let mut found = Vec::new();
        let mut from = after.map(|after| index_position(list, after));
        while found.len() < limit {
            let missing = i32::try_from(limit.saturating_sub(found.len())).unwrap_or(i32::MAX);
            let query = self.client.query().table_name(&self.table).index_name(DUE_INDEX).limit(missing).scan_index_forward(true);
            let query = query
                .key_condition_expression("#b = :b AND #d <= :until")
                .expression_attribute_names("#b", "due_bucket")
                .expression_attribute_names("#d", "due_at")
                .expression_attribute_values(":b", text(bucket(list)))
                .expression_attribute_values(":until", number(until.millis()));
            let page = query.set_exclusive_start_key(from).send().await.map_err(|error| classify_read(&error))?;
            for item in page.items.unwrap_or_default() {
                let key = item.get("pk").and_then(|pk| pk.as_s().ok()).ok_or(StoreError::Corrupt)?;
                let at = item.get("due_at").and_then(|at| at.as_n().ok()?.parse().ok()).ok_or(StoreError::Corrupt)?;
                found.push(Listed { at: Timestamp::from_millis(at), key: Key::from_stored(key.clone()) });
            }
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    async fn relist(&self, from: List, found: &Listed, to: List, at: Timestamp) -> Result<(), CommitError> {
        // Repeating it is harmless, so the SDK's own retries may stay on: what was carried out is refused the second time.
        let update = self.client.update_item().table_name(&self.table).key("pk", text(found.key.as_str()));
        let update = update
            .update_expression("SET #b = :to, #d = :at")
            .condition_expression("#b = :from AND #d = :found")
            .expression_attribute_names("#b", "due_bucket")
            .expression_attribute_names("#d", "due_at")
            .expression_attribute_values(":to", text(bucket(to)))
            .expression_attribute_values(":at", number(at.millis()))
            .expression_attribute_values(":from", text(bucket(from)))
            .expression_attribute_values(":found", number(found.at.millis()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) => {
                Err(CommitError::Conflict)
            }
            Err(error) => Err(CommitError::NotWritten(classify_read(&error))),
        }
    }
}

/// The hash key of a list in the index.
const fn bucket(list: List) -> &'static str {
    match list {
        List::Due => "due",
        List::Parked => "parked",
        List::Unreadable => "unreadable",
    }
}

/// Where a query of the index goes on (DynamoDB, "Query", `ExclusiveStartKey`: the keys of the index and of the table).
fn index_position(list: List, listed: &Listed) -> Item {
    HashMap::from([
        ("pk".to_owned(), text(listed.key.as_str())),
        ("due_bucket".to_owned(), text(bucket(list))),
        ("due_at".to_owned(), number(listed.at.millis())),
    ])
}

fn to_item(put: &Put) -> Item {
    let key = put.key.as_str();
    let kind = key.split('#').next().unwrap_or_default();
    let mut item = HashMap::from([
        ("pk".to_owned(), text(key)),
        ("kind".to_owned(), text(kind)),
        ("version".to_owned(), number(next_version(put))),
        ("body".to_owned(), text(&put.body)),
    ]);
    // One index for all lists, so that a table needs no second one.
    if let Some((list, at)) = put.listing() {
        item.insert("due_at".to_owned(), number(at.millis()));
        item.insert("due_bucket".to_owned(), text(bucket(list)));
    }
    if let Some(expiry) = put.expires_at {
        // Whole seconds, rounded up: never expired too early.
        item.insert("expires_at".to_owned(), number(Timestamp::from_millis(expiry.millis().saturating_add(999)).secs()));
    }
    item
}

fn text(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// A fresh token for one write (at most 36 characters).
fn request_token() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

/// 0, 50, 100, 200 ms.
async fn backoff_before(attempt: u32) {
    if let Some(doublings) = attempt.checked_sub(1) {
        tokio::time::sleep(FIRST_BACKOFF.saturating_mul(2_u32.saturating_pow(doublings))).await;
    }
}
