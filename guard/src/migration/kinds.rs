//! Which kinds of statements there are, and what the rules make of each.
//!
//! An allowlist: a statement that is not named here is refused as unknown.

use squawk_syntax::SyntaxKind::{self, *};

use crate::diagnostic::Code;

/// What a node is, as far as a rule asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A statement, also one within another.
    Statement(Statement),
    /// A call, with its name and arguments.
    Call,
    /// The name of a function where it is not called: in a cast, a grant, a comment.
    FunctionReference,
    /// A value in the definition of an operator, an aggregate or a type.
    DefinitionValue,
    /// A name of something that is no function: a relation, a column, a type, an alias.
    OtherName,
    /// A relation that a statement uses.
    Relation,
    /// A tablespace that a statement uses.
    Tablespace,
    /// A cast, in any of its spellings.
    Cast,
    /// The name of a function or aggregate that is being made.
    MadeFunction,
    /// The language of a routine.
    RoutineLanguage,
    /// A setting that a routine runs with.
    RoutineSetting,
    /// Anything else.
    Other,
}

/// What the rules make of a kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statement {
    /// Its effect stays within the database; what it contains is judged by itself.
    Allowed,
    /// Refused as such.
    Refused(Code),
    /// Writes to or locks the relations that it names first.
    Writes,
    /// Changes the definition of the relation, schema or routine that it names.
    Defines,
    /// `SET` and `RESET` of a setting.
    Setting,
    /// `GRANT` and `REVOKE`.
    Privileges,
    /// `ALTER DEFAULT PRIVILEGES`.
    DefaultPrivileges,
    /// `COMMENT ON` and `SECURITY LABEL ON`.
    Remark,
    /// `COPY`.
    Copy,
    /// `CREATE FUNCTION` and `CREATE PROCEDURE`.
    Routine,
    /// `CREATE OPERATOR`.
    Operator,
    /// `ALTER FUNCTION` and its kind.
    AltersRoutine,
    /// `DO`.
    Do,
    /// `CREATE EXTENSION` and `ALTER EXTENSION`.
    Extension,
    /// `CREATE LANGUAGE`.
    Language,
    /// `CREATE TYPE`.
    Type,
    /// `CREATE INDEX`, `DROP INDEX` and `REINDEX`.
    Index,
    /// Not in the list.
    Unknown,
}

/// Returns the shape of a node.
pub(super) fn shape(kind: SyntaxKind, is_statement: bool) -> Shape {
    if is_statement {
        return Shape::Statement(statement(kind));
    }
    match kind {
        CALL_EXPR => Shape::Call,
        FUNCTION_NAME_REF | PROCEDURE_NAME_REF | ROUTINE_NAME_REF => Shape::FunctionReference,
        ATTRIBUTE_VALUE => Shape::DefinitionValue,
        TABLE_NAME_REF | RELATION_NAME_REF | VIEW_REF | SEQUENCE_REF => Shape::Relation,
        TABLE_NAME
        | RELATION_NAME
        | TABLE_ALIAS
        | CTE_NAME
        | COLUMN_NAME
        | COLUMN_NAME_REF
        | PATH_TYPE
        | VIEW
        | INDEX
        | INDEX_REF
        | TYPE_NAME
        | TYPE_NAME_REF
        | CONSTRAINT_NAME
        | PROCEDURE_NAME
        | TRANSITION_RELATION_NAME
        | PARAM_NAME
        | SCHEMA_REF
        | PREPARED_STATEMENT_REF
        | POLICY
        | TRIGGER
        | RULE
        | DOMAIN
        | CURSOR_REF
        | CURSOR
        | COMPOSITE_FIELD_REF
        | STATISTICS_REF
        | LABEL_REF
        | WINDOW_REF => Shape::OtherName,
        TABLESPACE_REF => Shape::Tablespace,
        CAST_EXPR => Shape::Cast,
        FUNCTION_NAME | AGGREGATE_NAME => Shape::MadeFunction,
        LANGUAGE_FUNC_OPTION => Shape::RoutineLanguage,
        SET_FUNC_OPTION | RESET_FUNC_OPTION => Shape::RoutineSetting,
        _ => Shape::Other,
    }
}

fn statement(kind: SyntaxKind) -> Statement {
    special(kind).or_else(|| refusal(kind).map(Statement::Refused)).unwrap_or(allowed(kind))
}

fn special(kind: SyntaxKind) -> Option<Statement> {
    Some(match kind {
        INSERT | UPDATE | DELETE | MERGE | TRUNCATE | LOCK => Statement::Writes,
        ALTER_TABLE
        | ALTER_VIEW
        | ALTER_SEQUENCE
        | ALTER_MATERIALIZED_VIEW
        | ALTER_SCHEMA
        | ALTER_TRIGGER
        | ALTER_RULE
        | ALTER_POLICY
        | CREATE_TRIGGER
        | CREATE_RULE
        | CREATE_POLICY
        | DROP_TABLE
        | DROP_VIEW
        | DROP_SCHEMA
        | DROP_TRIGGER
        | DROP_RULE
        | DROP_POLICY
        | DROP_SEQUENCE
        | DROP_MATERIALIZED_VIEW => Statement::Defines,
        SET | RESET => Statement::Setting,
        GRANT | REVOKE => Statement::Privileges,
        ALTER_DEFAULT_PRIVILEGES => Statement::DefaultPrivileges,
        COMMENT_ON | SECURITY_LABEL => Statement::Remark,
        COPY => Statement::Copy,
        CREATE_FUNCTION | CREATE_PROCEDURE => Statement::Routine,
        CREATE_OPERATOR => Statement::Operator,
        ALTER_FUNCTION | ALTER_ROUTINE | ALTER_AGGREGATE => Statement::AltersRoutine,
        DO => Statement::Do,
        CREATE_EXTENSION | ALTER_EXTENSION => Statement::Extension,
        CREATE_LANGUAGE => Statement::Language,
        CREATE_TYPE => Statement::Type,
        CREATE_INDEX | DROP_INDEX | REINDEX => Statement::Index,
        _ => return None,
    })
}

fn refusal(kind: SyntaxKind) -> Option<Code> {
    Some(match kind {
        CREATE_DATABASE | ALTER_DATABASE | DROP_DATABASE => Code::ReachesDatabases,
        CREATE_ROLE | ALTER_ROLE | DROP_ROLE | CREATE_USER | ALTER_USER | DROP_USER
        | CREATE_GROUP | ALTER_GROUP | DROP_GROUP | REASSIGN | DROP_OWNED => Code::ReachesRoles,
        CREATE_TABLESPACE | ALTER_TABLESPACE | DROP_TABLESPACE => Code::ReachesTablespaces,
        ALTER_SYSTEM | CHECKPOINT => Code::ReachesServer,
        CREATE_SERVER
        | ALTER_SERVER
        | DROP_SERVER
        | CREATE_USER_MAPPING
        | ALTER_USER_MAPPING
        | DROP_USER_MAPPING
        | CREATE_FOREIGN_TABLE
        | ALTER_FOREIGN_TABLE
        | DROP_FOREIGN_TABLE
        | CREATE_FOREIGN_DATA_WRAPPER
        | ALTER_FOREIGN_DATA_WRAPPER
        | DROP_FOREIGN_DATA_WRAPPER
        | IMPORT_FOREIGN_SCHEMA => Code::ReachesForeignData,
        CREATE_PUBLICATION | ALTER_PUBLICATION | DROP_PUBLICATION | CREATE_SUBSCRIPTION
        | ALTER_SUBSCRIPTION | DROP_SUBSCRIPTION => Code::ReachesReplication,
        LOAD
        | CREATE_ACCESS_METHOD
        | DROP_ACCESS_METHOD
        | CREATE_EVENT_TRIGGER
        | ALTER_EVENT_TRIGGER
        | DROP_EVENT_TRIGGER
        | CREATE_OPERATOR_CLASS
        | ALTER_OPERATOR_CLASS
        | CREATE_OPERATOR_FAMILY
        | ALTER_OPERATOR_FAMILY
        | CREATE_TEXT_SEARCH_PARSER
        | ALTER_TEXT_SEARCH_PARSER
        | CREATE_TEXT_SEARCH_TEMPLATE
        | ALTER_TEXT_SEARCH_TEMPLATE
        | CREATE_TRANSFORM => Code::ServerCode,
        ALTER_LANGUAGE => Code::UnscreenableLanguage,
        SET_ROLE | SET_SESSION_AUTH | RESET_ROLE | RESET_SESSION_AUTH => Code::SwitchesIdentity,
        BEGIN
        | COMMIT_TRANSACTION
        | COMMIT_PREPARED
        | ROLLBACK_TRANSACTION
        | ROLLBACK_PREPARED
        | ROLLBACK_TO_SAVEPOINT
        | PREPARE_TRANSACTION
        | SAVEPOINT_CREATE
        | RELEASE_SAVEPOINT
        | SET_TRANSACTION => Code::EndsTransaction,
        DISCARD | LISTEN => Code::ChangesSession,
        _ => return None,
    })
}

fn allowed(kind: SyntaxKind) -> Statement {
    match kind {
        SELECT
        | SELECT_INTO
        | VALUES
        | TABLE
        | COMPOUND_SELECT
        | PAREN_SELECT
        | EMPTY_STMT
        | CALL
        | EXPLAIN
        | PREPARE
        | EXECUTE
        | DEALLOCATE
        | DECLARE
        | FETCH
        | MOVE
        | CLOSE
        | SHOW
        | SET_CONSTRAINTS
        | NOTIFY
        | UNLISTEN
        | ANALYZE
        | VACUUM
        | REPACK
        | REFRESH
        | CLUSTER
        | CREATE_TABLE
        | CREATE_TABLE_AS
        | CREATE_VIEW
        | CREATE_MATERIALIZED_VIEW
        | CREATE_SEQUENCE
        | CREATE_SCHEMA
        | CREATE_DOMAIN
        | CREATE_CAST
        | CREATE_COLLATION
        | CREATE_CONVERSION
        | CREATE_AGGREGATE
        | CREATE_STATISTICS
        | CREATE_TEXT_SEARCH_CONFIGURATION
        | CREATE_TEXT_SEARCH_DICTIONARY
        | ALTER_COLLATION
        | ALTER_CONVERSION
        | ALTER_DOMAIN
        | ALTER_PROCEDURE
        | ALTER_INDEX
        | ALTER_OPERATOR
        | ALTER_STATISTICS
        | ALTER_TYPE
        | ALTER_LARGE_OBJECT
        | ALTER_TEXT_SEARCH_CONFIGURATION
        | ALTER_TEXT_SEARCH_DICTIONARY
        | DROP_AGGREGATE
        | DROP_CAST
        | DROP_COLLATION
        | DROP_CONVERSION
        | DROP_DOMAIN
        | DROP_EXTENSION
        | DROP_FUNCTION
        | DROP_LANGUAGE
        | DROP_OPERATOR
        | DROP_OPERATOR_CLASS
        | DROP_OPERATOR_FAMILY
        | DROP_PROCEDURE
        | DROP_ROUTINE
        | DROP_STATISTICS
        | DROP_TEXT_SEARCH_CONFIG
        | DROP_TEXT_SEARCH_DICT
        | DROP_TEXT_SEARCH_PARSER
        | DROP_TEXT_SEARCH_TEMPLATE
        | DROP_TRANSFORM
        | DROP_TYPE => Statement::Allowed,
        _ => Statement::Unknown,
    }
}
