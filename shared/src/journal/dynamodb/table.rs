//! The table's shape, for tests and for the sandbox. A deployed table comes from the template and never from here.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
    TimeToLiveSpecification,
};
use thiserror::Error;

use super::DUE_INDEX;

/// Why a table could not be created.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TableError {
    /// The request could not be built.
    #[error("the table's definition is incomplete")]
    Definition,
    /// The database did not create it.
    #[error("the table could not be created: is the database there, and is the name free?")]
    NotCreated,
    /// It was created, but does not delete expired documents.
    #[error("the table's time to live could not be switched on")]
    NoTimeToLive,
}

impl From<BuildError> for TableError {
    fn from(_: BuildError) -> Self {
        Self::Definition
    }
}

/// Creates a journal table: on demand, with the index of what is due and TTL.
///
/// # Errors
/// [`TableError`].
pub async fn create_table(client: &Client, name: &str) -> Result<(), TableError> {
    let index = GlobalSecondaryIndex::builder()
        .index_name(DUE_INDEX)
        .key_schema(key_element("due_bucket", KeyType::Hash)?)
        .key_schema(key_element("due_at", KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()?;
    client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute_definition("pk", ScalarAttributeType::S)?)
        .attribute_definitions(attribute_definition("due_bucket", ScalarAttributeType::S)?)
        .attribute_definitions(attribute_definition("due_at", ScalarAttributeType::N)?)
        .key_schema(key_element("pk", KeyType::Hash)?)
        .global_secondary_indexes(index)
        .send()
        .await
        .map_err(|_| TableError::NotCreated)?;
    let expiry = TimeToLiveSpecification::builder().enabled(true).attribute_name("expires_at").build()?;
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(expiry)
        .send()
        .await
        .map(|_| ())
        .map_err(|_| TableError::NoTimeToLive)
}

fn key_element(name: &str, role: KeyType) -> Result<KeySchemaElement, BuildError> {
    KeySchemaElement::builder().attribute_name(name).key_type(role).build()
}

fn attribute_definition(name: &str, scalar_type: ScalarAttributeType) -> Result<AttributeDefinition, BuildError> {
    AttributeDefinition::builder().attribute_name(name).attribute_type(scalar_type).build()
}
