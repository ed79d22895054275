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
// APP_SCRAPE_ROTATE_EVERY, its flag -scrape.rotate-every. Fields of func,
// interface and channel types are no keys, so that options structs of other
// packages can be loaded as they are.
//
// Tags: koanf:"name", required:"true", oneof:"a|b", min and max (numbers,
// durations, sizes, lengths), doc:"text". A Validate() error method on the
// settings, or on any struct in them, is called.
//
// Loading is strict: unknown keys and variables, duplicate keys and values
// that do not fit are problems of one [Report]. A string gets the text that
// the file has: 1.10, 007 and no stay as they are written.
//
// A [Secret] shows itself nowhere but by Reveal. A string of the form
// ref+vault://path#key is resolved by the [Resolver] of its scheme.
package config
