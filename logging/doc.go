// Package logging is a structured log whose file is the queue: records are
// appended as JSON lines to a file, the file is sealed into segments, segments
// are shipped in bulk, and one is removed only when the receiver has it.
//
//	logs, err := logging.New(&logging.Options{
//		Level:  "info",
//		Levels: map[string]string{"orders.*": "debug"},
//		File:   logging.FileOptions{Path: "var/log/app.log"},
//		Redact: []string{"password", "authorization"},
//		Sink:   sink,
//	})
//	if err != nil {
//		return err
//	}
//	defer logs.Close() // ships what is left
//	log := logs.Logger("orders.http") // a *slog.Logger
//	log.Info("order placed", "id", 42)
//
// Most readers want [New] and [Logs.Logger]. With a Sink the log is shipped from
// New until Close. [Logs.Run] ties that to a context, for an errgroup;
// [Logs.SendBulk] ships now and returns a receipt; [Logs.SetLevel] changes
// levels while the program runs. The sinks are packages of their own under
// logging/sink. [OpenFile] is the file alone, for other logging libraries;
// [NewShipper] ships what other processes left.
//
// # Guarantees
//
// A record whose log call returned without an error is in the file, written by
// one write(2), whole: it survives a killed process, and with Sync "record" a
// power cut. From there it is delivered at least once. A crash between the
// receiver's answer and the checkpoint repeats at most one batch; every event
// carries an ID that is the same each time, for receivers that can use one.
//
// A record that the disk takes in part is cut back, counted, and reported.
// When the receiver is away, segments wait within the file's bounds; beyond
// them the oldest are dropped, counted, and reported.
//
// An event that the receiver will never take is written to the file
// app.log.quarantine, and the rest goes on, however many there are. It is set
// aside only when the receiver took another event after it had refused this
// one: a receiver that takes nothing, for a wrong address or token, gets one
// event per backoff, and everything is kept.
//
// Any number of processes may log to the same path: each appends to a file of
// its own beside it, and holds a lock on that. A restart continues the file that
// it finds. No log call waits for another process.
//
// # What is told
//
// [Logs.Check], Options.OnError and Options.Logger tell the same. What is lost
// is told at once. What waits and loses nothing, for a receiver that is away or
// refuses what comes, or a stopped process that holds the turn to ship, is told
// when it has lasted for StuckAfter, a minute by default, and once more when it
// is over. Stats().Ship.Delivery has the state at any time. The log leaves its
// own reports out of itself.
//
// # Reading the file
//
// For a person, tail -F follows app.log. It may skip lines around a moment when
// the file is sealed; what reads every line reads the segments too, in the
// order of their names. A log that is not shipped keeps its lines in app.log and
// in segments beside it, within FileOptions.MaxTotalBytes.
//
// # Deliberately absent
//
// There is no in-memory queue that drops, no rotation by renaming behind the
// reader's back, no global logger, and no vendor SDK. Network file systems are
// not supported: the locks do not hold there.
//
// # On Windows
//
//   - FileOptions.Perm is without effect: the access list of the folder says who may read.
//   - Owners and write bits are not checked: choose a folder of this account alone.
//   - Links need a right that most accounts have not; one in the log's place is refused.
//   - There is no SIGTERM, only Ctrl-C: a process that is killed leaves its file to the next.
package logging
