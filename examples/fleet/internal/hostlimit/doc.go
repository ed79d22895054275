// Package hostlimit spares hosts across all workers of a fleet: requests to one
// host take turns that are handed out by a key-value bucket of JetStream.
//
// The bucket holds, for each host, when its next turn is. A worker takes turns
// by moving that time on, with the revision that it has read: of two workers
// that try at once, one has to read again. So every turn is taken once, and at
// most Burst + PerSecond·t requests are made in any time t.
//
// Turns are taken at most a quarter of a second ahead. What a worker has taken
// and not used when it dies is lost: the host is spared a little more than it
// had to be, for that moment alone; nothing has to be given back.
//
// Times are the server's. Workers' clocks may differ by hours: each worker asks
// the server for its time, once a minute and whenever its own clock jumps, and
// counts on from there by its monotonic clock. The error is half of the fastest
// of five round trips.
package hostlimit
