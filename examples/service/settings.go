package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/tor"
)

// settings are what can be set. Each block's part is its own option struct.
type settings struct {
	Listen  string   `doc:"address to serve at" default:"127.0.0.1:8080"`
	Hosts   []string `doc:"names, beside localhost, under which the service is asked for"`
	DataDir string   `doc:"folder for what the service keeps" default:"."`
	Site    site
	Log     logging.Options
	Ship    httpjson.Options
	Mail    email.Options
	Slack   struct {
		slack.Options `koanf:",squash"`
		Webhook       secret.Secret `doc:"address of an incoming webhook; none if empty"`
	}
	Outbox notify.Outbox
	Tor    tor.Options
	Scrape scrape.Options
}

// site is the page to watch.
type site struct {
	URL     string         `doc:"page to watch" required:"true"`
	Pattern *regexp.Regexp `doc:"regular expression for the part to watch, its last group if it has one" default:"(?s).*"`
	Every   time.Duration  `doc:"time between two looks" default:"15m" min:"1s"`
}

// secrets are what must not be shown anywhere.
func (s *settings) secrets() []secret.Secret {
	return []secret.Secret{s.Ship.Token, s.Mail.Password, s.Slack.Webhook, s.Tor.Password}
}

//go:embed config.yaml config.dev.yaml
var shipped embed.FS

// parse reads the command line and returns the layers of the settings, the
// weakest first: the file, the profile, secret files, the environment, flags.
func parse(args []string, stderr io.Writer) (command []string, ask *bool, layers []config.Option, err error) {
	flags := flag.NewFlagSet("service", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a list of all flags after a mistake hides what it is
	file := flags.String("config", "", "settings file in place of the one in the program")
	ask = flags.Bool("healthcheck", false, "ask the service that runs here whether it is well")
	config.DefineFlags(flags, settings{})
	switch err = flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stderr)
		flags.PrintDefaults()
	case err == nil && flags.NArg() > 0 && flags.Arg(0) != "config":
		err = errors.New("service: the only command is config, see -help: " + flags.Arg(0))
	}

	first := config.File("config.yaml", config.In(shipped))
	if *file != "" {
		first = config.File(*file, config.Writable())
	}
	layers = append(layers, first, config.ProfileFromEnv("SERVICE_PROFILE"), config.SecretsDir("/run/secrets"), config.Env("SERVICE"), config.Flags(flags))
	return flags.Args(), ask, append(layers, config.EmptyUnset(), config.RefuseWritable()), err
}

// reload reads the settings again at SIGHUP. Bad ones change nothing.
func reload(ctx context.Context, store *config.Store[settings], log *slog.Logger) error {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	for {
		select {
		case <-ctx.Done():
			signal.Stop(hangup)
			return nil
		case <-hangup:
			log.Info("reloading", "error", store.Reload(ctx))
		}
	}
}
