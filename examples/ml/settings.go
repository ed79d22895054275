package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"time"

	"github.com/svcblocks/svcblocks/config"
)

// Settings are all settings of the commands; each uses those that concern it.
type Settings struct {
	In     string        `koanf:"in" doc:"folder with train.csv, test.csv and features.json; empty: made-up data"`
	Models string        `koanf:"models" required:"true" doc:"folder of all models"`
	Name   string        `koanf:"name" required:"true" doc:"the model's name"`
	Listen string        `koanf:"listen" required:"true" doc:"serve: host:port; port 0 takes a free one"`
	Hosts  []string      `koanf:"hosts" doc:"serve: further names by which the server is asked, as models.example; addresses, localhost and the host of listen always are"`
	Poll   time.Duration `koanf:"poll" min:"100ms" doc:"serve: how often new versions are looked for"`
	URL    string        `koanf:"url" required:"true" doc:"ask: the server's address"`
	Rows   int           `koanf:"rows" min:"10" max:"1000000" doc:"rows of made-up data"`
	Steps  int           `koanf:"steps" min:"1" doc:"train: batches that are learned from"`
	Seed   int64         `koanf:"seed" min:"0" doc:"train: seed of the weights, the order of rows and made-up data"`
}

func defaults() Settings {
	return Settings{
		Models: "var/models", Name: "lots", Listen: "127.0.0.1:8501", Poll: 5 * time.Second,
		URL: "http://127.0.0.1:8501", Rows: 4000, Steps: 1500, Seed: 1,
	}
}

var modelName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Validate reports a name that cannot be a folder and a part of a URL.
func (s Settings) Validate() error {
	if s.Name != "" && !modelName.MatchString(s.Name) {
		return fmt.Errorf("name %q: use letters, digits, '.', '-' and '_'", s.Name)
	}
	return nil
}

// base is the folder of the model's versions.
func (s Settings) base() string { return filepath.Join(s.Models, s.Name) }

// load reads flags and ML_… variables; flags win.
func load(ctx context.Context, command string, args []string, stderr io.Writer) (Settings, error) {
	flags := flag.NewFlagSet("ml "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a list of all flags after a mistake hides what it is
	config.DefineFlags(flags, defaults())

	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return Settings{}, err
	case err != nil:
		return Settings{}, fmt.Errorf("%w (ml %s -help lists the flags)", err, command)
	}

	if flags.NArg() > 0 {
		return Settings{}, fmt.Errorf("%q: there are flags alone, see -help", flags.Arg(0))
	}

	store, err := config.Load(ctx, defaults(), config.Env("ML"), config.Flags(flags))
	if err != nil {
		return Settings{}, err
	}
	return *store.Get(), errors.Join(store.Close())
}
