//! Do the types implement the traits that runtimes rely on?

use futures::future::{Ready, ready};
use matou_ownership::{
    AccessError, FinalizeReport, Ledger, NotOwner, Owned, OwnedError, OwnerInfo, ResourceInfo,
    Scope, ScopeError, Ticket, enter, scope,
};

fn is_send_sync<T: Send + Sync>() {}
fn is_send<T: Send>(_: &T) {}
fn is_unpin<T: Unpin>() {}
fn is_error<T: std::error::Error + Send + Sync + 'static>() {}

#[test]
fn shared_types_are_send_and_sync() {
    is_send_sync::<Ledger>();
    is_send_sync::<Ticket>();
    is_send_sync::<Owned<std::cell::Cell<u8>>>();
    is_send_sync::<(OwnerInfo, ResourceInfo, FinalizeReport)>();
}

#[test]
fn errors_are_send_and_sync() {
    is_error::<AccessError>();
    is_error::<NotOwner>();
    is_error::<OwnedError>();
    is_error::<ScopeError>();
}

#[test]
fn a_scope_is_unpin_and_is_send_if_its_future_is() {
    is_unpin::<Scope<Ready<std::marker::PhantomPinned>>>();
    is_send(&scope(ready(std::cell::Cell::new(1))));
    is_send(&scope(async {
        let owned = Owned::new(std::cell::Cell::new(1), drop);
        ready(()).await;
        drop(owned);
    }));
}

#[test]
fn debug_output_names_the_type_and_the_resources() {
    let ledger = Ledger::new();
    let entered = enter(Some(ledger.clone()));
    let owned = Owned::new(1, drop);
    assert!(format!("{entered:?}").contains("EnterGuard"));
    entered.leave();
    assert!(format!("{ledger:?}").contains("i32"));
    assert!(format!("{owned:?}").contains("owned"));
    assert!(format!("{:?}", ledger.finalize_all()).contains("i32"));
}
