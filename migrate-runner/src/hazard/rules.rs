//! What production would feel for each of the linter's rules.

use guard::diagnostic::Code;
use squawk_linter::Rule;

/// Returns the code of a rule; none for rules that are not ours to judge by.
///
/// Left out: what the screening refuses with words of its own, time limits (whoever runs the
/// migrations sets them for the session, as we do), and rules that squawk has off by default because
/// they speak of every change of a kind, harmful or not.
pub(super) fn code(rule: Rule) -> Option<Code> {
    Some(match rule {
        Rule::AddingFieldWithDefault
        | Rule::ChangingColumnType
        | Rule::PreferRepack => Code::HazardRewrite,

        Rule::AddingForeignKeyConstraint
        | Rule::AddingNotNullableField
        | Rule::AddingSerialPrimaryKeyField
        | Rule::BanAlterDomainWithAddConstraint
        | Rule::ConstraintMissingNotValid
        | Rule::DisallowedUniqueConstraint => Code::HazardScan,

        Rule::RequireConcurrentIndexCreation
        | Rule::RequireConcurrentIndexDeletion
        | Rule::RequireConcurrentPartitionDetach
        | Rule::RequireConcurrentReindex => Code::HazardIndex,

        Rule::AddingRequiredField
        | Rule::BanAlterIdentity
        | Rule::BanDropConstraint
        | Rule::BanDropDefault
        | Rule::BanDropDomain
        | Rule::BanDropExtension
        | Rule::BanDropFunction
        | Rule::BanDropGeneratedExpression
        | Rule::BanDropNotNull
        | Rule::BanDropSequence
        | Rule::BanDropType
        | Rule::BanDropView
        | Rule::BanSetSchema
        | Rule::RenamingColumn
        | Rule::RenamingObject
        | Rule::RenamingTable => Code::HazardClients,

        Rule::BanDropColumn
        | Rule::BanDropSchema
        | Rule::BanDropTable
        | Rule::BanTruncateCascade => Code::HazardLoss,

        Rule::BanCharField
        | Rule::BanCreateDomainWithConstraint
        | Rule::PreferBigintOverInt
        | Rule::PreferBigintOverSmallint
        | Rule::PreferIdentity
        | Rule::PreferTextField
        | Rule::PreferTimestampTz => Code::HazardType,

        Rule::PreferRobustStmts => Code::HazardRerun,

        Rule::BanDuplicateColumnAssignments
        | Rule::IdentifierTooLong
        | Rule::RequireEnumValueOrdering => Code::HazardMeaning,

        // The screening's: SG6201, SG6215, SG6219.
        Rule::BanDropDatabase
        | Rule::BanConcurrentIndexCreationInTransaction
        | Rule::BanUncommittedTransaction
        | Rule::TransactionNesting
        // The session's.
        | Rule::RequireLockTimeout
        | Rule::RequireStatementTimeout
        | Rule::RequireTimeoutSettings
        // Off by default.
        | Rule::BanAddColumn
        | Rule::BanAddCompositeAttribute
        | Rule::BanAddEnumValue
        | Rule::BanAlterDatabaseOptions
        | Rule::BanAlterExtension
        | Rule::BanAlterFunctionOptions
        | Rule::BanAlterGeneratedExpression
        | Rule::BanAlterPolicyCondition
        | Rule::BanAlterPolicyRoles
        | Rule::BanAlterRoleOptions
        | Rule::BanAlterRowLevelSecurity
        | Rule::BanAlterSequenceValues
        | Rule::BanAlterSystemOptions
        | Rule::BanAlterViewOptions
        | Rule::BanCreatePolicy
        | Rule::BanDetachInheritance
        | Rule::BanDisableTrigger
        | Rule::BanDropIndex
        | Rule::BanDropPolicy
        | Rule::BanDropTrigger
        | Rule::BanNewWriteRestriction
        | Rule::BanReplaceViewFunction
        | Rule::BanReplicaIdentity
        | Rule::BanRevoke
        | Rule::BanSetDefault
        | Rule::RequireTableSchema
        | Rule::UnusedIgnore => return None,
    })
}
