// Package history keeps what the service has seen in one embedded database
// file: items with the prices they had, runs, and the notices that are owed to
// the operator.
//
// A run is [Store.Begin], one [Store.Put] per page, and [Store.Finish]. Each is
// one durable transaction. A price that differs from the last known one is
// recorded as a [Change] in the transaction that stores the price, and the
// [Notice] that tells of a run's changes, or of its failure, in the one that
// ends the run. So a process that is killed anywhere has either not seen the
// change, and will see it in the next run, or owes a notice for it: [Open] ends
// the runs that a dead process left behind, as [Interrupted], with the notices
// that they owe. A notice leaves the file when [Store.Settle] says that the
// next system has it; a crash just before that repeats it under the same ID.
//
// The file has one owner at a time; Open says so with [ErrLocked]. Its size is
// bounded by the number of runs, points per item, and the time that items
// which left the site are kept.
package history
