use crate::info::ResourceInfo;

/// The result of [finalizing](crate::Ledger::finalize_all) a ledger.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct FinalizeReport {
    /// The resources that were finalized, in the order in which their finalizers started.
    pub finalized: Vec<ResourceInfo>,
    /// The resources of `finalized` that were owned when finalization began, and whose handle was
    /// not dropped before.
    pub leaked: Vec<ResourceInfo>,
    /// The resources whose finalizers panicked, with the panic messages. This includes finalizers
    /// that ran earlier, on a thread that was panicking already.
    pub panicked: Vec<(ResourceInfo, String)>,
    /// The resources of `finalized` whose asynchronous finalizers were dropped before they
    /// completed.
    pub unfinished: Vec<ResourceInfo>,
}
