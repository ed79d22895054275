// Package config loads typed settings that explain themselves, reload safely
// and can be changed.
//
// Settings are a struct; its zero or given values are the defaults:
//
//	type Settings struct {
//		Mode   string `oneof:"dev|prod" doc:"what the service runs as"`
//		Scrape struct {
//			RotateEvery int           `min:"1"`
//			Timeout     time.Duration `min:"1s" max:"5m"`
//		}
//		Token config.Secret `required:"true"`
//	}
//
//	store, err := config.Load(ctx, Settings{Mode: "dev"},
//		config.File("config.yaml"), config.Env("APP"))
//	if err != nil {
//		log.Fatal(err) // every mistake at once, each with file:line:column
//	}
//	cfg := store.Get()
//
// [Load] and [Store.Get] are what most programs need. Keys come from the
// koanf tag, else from the field's name in snake case: SMTPHost is smtp_host.
// The variable of key scrape.rotate_every under Env("APP") is
// APP_SCRAPE_ROTATE_EVERY, its flag -scrape.rotate-every.
//
// A field holds text, a bool, a number, a time.Duration, a time.Time, a [Bytes], a
// [URL], a *time.Location, a net.IPNet, whatever has UnmarshalText, or a list, map,
// pointer or struct of these; an any may stand in a list or map. Other fields, such
// as functions, are no keys, so that options structs of other packages can be
// loaded as they are; a key that is set for one is a mistake by name. A null means
// none for a list, map or pointer, removes an entry of a map, and leaves anything
// else as it was.
//
// Tags: koanf:"name", required:"true" (which refuses empty text, lists and maps
// too), default:"5s", zero:"default" (an explicit zero is a mistake),
// oneof:"a|b", min and max (numbers, durations, sizes, lengths), doc:"text",
// audit:"token|listen|-" (what [Store.Audit] takes an address for). A tag's
// default gives way to a field of the defaults that is not zero, and that
// to the layers; an explicit zero in a layer is a value. A Validate() error
// method on the settings, or on any struct in them, is called.
//
// Loading is strict: unknown keys and variables, duplicate keys and values
// that do not fit are problems of one [Report]. A string gets the text that
// the file has: 1.10, 007 and no stay as they are written.
//
// A [Secret] shows itself nowhere but by Reveal. A string of the form
// ref+vault://path#key is resolved by the [Resolver] of its scheme; file and env
// are built in, config/vault and config/azurekeyvault are packages beside this.
//
// [Store.Explain] says of each key where its value comes from and what it
// overrode. [Store.Run] follows files, mounts and leases, and keeps the last
// good settings when they turn bad. [Store.Check], [OnError] and lines on stderr
// tell when that lasts. [OnChange] tells of a part that changed.
// [Store.Set] and [Store.Update] change the [Writable] file, the lines of those
// keys and no other, without losing what other processes change. [Main] is a
// settings command for your own binary; its check -strict is [Store.Audit].
//
// What holds, each by a test: a snapshot is never torn; a file that is being
// written is not loaded; 8 processes that make 320 changes lose none; a process
// killed at any moment leaves the old file or the new one; no message, log
// line or error of the package shows a secret. Get costs one atomic load.
//
// Deliberately absent: access by key at run time other than Set and Explain,
// settings in global variables, and writing to anything but one file.
//
// # On Windows
//
//   - A file that is written anew takes the access list of its folder; modes are without effect.
//   - Owners are not kept: a file that is written anew belongs to this account.
//   - Links need a right that most accounts have not; those that are there are followed.
//   - There is no SIGHUP: [Store.Run] sees that a file changed.
package config
