//! What must hold. One file a property; each is a pure function of a history, and is shown to catch a planted violation.
//!
//! | property | promise | file |
//! |---|---|---|
//! | acknowledged | a write that was answered is there, once; an unanswered one may be; nothing else is | `acknowledged` |
//! | linearizable | the operations on a register took place one after the other; reads are not stale | `linearizable` |
//! | given | what is taken, or read by a group, is given to one client | `given` |
//! | counter | every acknowledged increment counts once, and the count never falls | `counter` |
//! | sum | nobody sees half of a transaction | `sum` |
//! | masters | no two nodes accept writes at once | `masters` |
//! | rejoin | a master that was killed comes back as an in-sync replica, as a new incarnation | `rejoin` |
//! | unavailable | how long a client could not write | `unavailable` |

pub mod acknowledged;
pub mod counter;
pub mod given;
pub mod linearizable;
pub mod masters;
pub mod rejoin;
pub mod sum;
pub mod unavailable;
