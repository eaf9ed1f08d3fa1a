//! What must hold. One file a property; each is a pure function of a history, and is shown to catch a planted violation.
//!
//! | property | promise | file |
//! |---|---|---|
//! | acknowledged | a write that was answered is there, once; an unanswered one may be; nothing else is | `acknowledged` |
//! | masters | no two nodes accept writes at once | `masters` |
//! | rejoin | a master that was killed comes back as an in-sync replica, as a new incarnation | `rejoin` |
//! | unavailable | how long a client could not write | `unavailable` |

pub mod acknowledged;
pub mod masters;
pub mod rejoin;
pub mod unavailable;
