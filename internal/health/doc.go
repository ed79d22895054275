// Package health is how a block is never silent about a loss. A block reports
// what goes wrong to its [Monitor], under a key such as the name of a receiver
// or "file". The monitor decides what is worth telling, tells it once to
// Logger and OnError, and answers the block's Check and Stats.
//
// There are three reports, and one end:
//
//   - [Monitor.Fail]: something waits and nothing is lost. It is told when it
//     has lasted for Options.After, as ErrStuck.
//   - [Monitor.Broken]: what comes now cannot be stored. It is told at once, as
//     ErrLost, and lasts until OK.
//   - [Monitor.Lost]: n records or messages are gone. It is told at once, as
//     ErrLost. It is an event, not a state, so it needs no OK.
//   - [Monitor.OK]: all is well with this key.
//
// An episode begins with the first report of a key and is over when all was
// well for Options.After. Within an episode the same thing is told once: a
// receiver that is away for 61 s and back for 5 s, 100 times over, is told when
// it has been away for a minute and when it has been back for a minute. What
// was told as stuck is told once more if something is lost after all. A state
// that passes before After is never told.
//
// # How a block uses it
//
//	m := health.New(health.Options{Component: "notify", Logger: o.Logger, OnError: o.OnError,
//		After: o.StuckAfter, Lost: ErrLost, Stuck: ErrStuck})
//
// The constructor calls [Monitor.Start] as its last step, and each exported
// method calls [Monitor.Used] first. Nothing is told before Start. After it the
// first Used lets everything out; where the user calls nothing, it goes out a
// second after Start, because no function can see that it has returned.
//
// OnError and Logger are called one at a time, by a goroutine that exists only
// while there is something to tell, and under no lock: they may use the block
// and may close it.
//
// Errors must be clean of secrets before they are reported.
//
// The package uses the standard library without net and crypto/tls, so that a
// program that only logs does not link them.
package health
