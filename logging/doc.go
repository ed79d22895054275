// Package logging is a structured log whose file is the queue: records are
// appended as JSON lines to a file, the file is sealed into segments, segments
// are shipped in bulk, and one is removed only when the receiver has it.
//
//	logs, err := logging.New(logging.Config{
//		Level:  "info",
//		Levels: map[string]string{"orders.*": "debug"},
//		File:   logging.FileConfig{Path: "var/log/app.log"},
//		Redact: []string{"password", "authorization"},
//	}, &logging.Options{Sink: sink})
//	if err != nil {
//		return err
//	}
//	defer logs.Close()
//	go logs.Run(ctx)
//	log := logs.Logger("orders.http") // a *slog.Logger
//	log.Info("order placed", "id", 42)
//
// Most readers want [New] and [Logs.Logger]. [Logs.Run] ships in the
// background, [Logs.SendBulk] ships now and returns a receipt,
// [Logs.SetLevel] changes levels while the program runs. The sinks are packages
// of their own under logging/sink. [OpenFile] is the file alone, for other
// logging libraries; [NewShipper] ships what other processes left.
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
// When the receiver is away, segments wait within the disk quota; beyond it the
// oldest are dropped, counted, and reported. An event that the receiver will
// never take is written to the file app.log.quarantine, and the rest goes on.
// Where the receiver refuses the token or the address, everything is kept.
//
// Any number of processes may log to the same path: each appends to a file of
// its own beside it, and holds a lock on that. Files without one were left by
// killed processes and are sealed by whoever comes first.
//
// The shipper never logs into the log that it ships: it reports through
// Options.OnError, Options.Logger and [Logs.Stats].
//
// # Deliberately absent
//
// There is no in-memory queue that drops, no rotation by renaming behind the
// reader's back, no global logger, and no vendor SDK. Network file systems are
// not supported: the locks do not hold there.
package logging
