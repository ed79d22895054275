package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
	"github.com/svcblocks/svcblocks/scrape"
)

// Settings are all settings of the fleet; each command uses those that concern
// it.
type Settings struct {
	NATS    NATS            `koanf:"nats"`
	Queue   Queue           `koanf:"queue"`
	Host    Host            `koanf:"host"`
	Worker  Worker          `koanf:"worker"`
	Listen  string          `koanf:"listen" required:"true" doc:"hub: host:port of the page; port 0 takes a free one"`
	Hosts   []string        `koanf:"hosts" doc:"hub: further names by which the page is asked, as fleet.example; addresses, localhost and the host of listen always are"`
	DataDir string          `koanf:"data_dir" required:"true" doc:"hub: folder of the streams and of messages on their way"`
	Shared  bool            `koanf:"data_shared" doc:"hub: take a data_dir that another user owns or may write, as mounts of WSL and Docker Desktop show theirs"`
	Workers int             `koanf:"workers" min:"0" max:"64" doc:"hub: workers in the hub's own process; demo: 3 if 0"`
	Jobs    int             `koanf:"jobs" min:"1" max:"10000000" doc:"demo: pages of the site that comes along"`
	Egress  string          `koanf:"egress" required:"true" doc:"worker: the SOCKS port of Tor, host:port, or direct for this machine's own address"`
	Scrape  scrape.Options  `koanf:"scrape" doc:"worker: how pages are fetched; host_limit and retry are the fleet's business"`
	Log     logging.Options `koanf:"log"`
	Mail    email.Options   `koanf:"mail"`
	Slack   Slack           `koanf:"slack"`
	Requeue bool            `koanf:"requeue" doc:"dead: put all of them back into the queue"`
	Again   bool            `koanf:"again" doc:"submit: fetch also what has a result, and replace it"`
	Every   time.Duration   `koanf:"every" doc:"submit: fetch again so long after each fetch, 1s at least; 0: once"`
	End     bool            `koanf:"end" doc:"submit: end the schedules of these addresses"`
	Bodies  bool            `koanf:"bodies" doc:"results: print the pages, too"`
}

// hosts are the names that the page answers to.
func (s Settings) hosts() (*safehttp.Hosts, error) {
	return safehttp.NewHosts("hosts", append([]string{s.Listen}, s.Hosts...)...)
}

// NATS says where the queue is.
type NATS struct {
	URL         string        `koanf:"url" doc:"address of a NATS server or cluster with JetStream; empty: the one embedded in the hub"`
	Token       config.Secret `koanf:"token" doc:"token of the server, embedded or not"`
	Credentials string        `koanf:"credentials" doc:"file with the credentials for url"`
	CA          string        `koanf:"ca" doc:"file with certificates to trust for url"`
	Listen      string        `koanf:"listen" required:"true" doc:"host:port of the embedded server, for workers"`
	DisableSync bool          `koanf:"disable_sync" doc:"embedded: leave it to the operating system when messages reach the disk"`
	Replicas    int           `koanf:"replicas" min:"1" max:"5" doc:"how many servers of a cluster keep each stream"`
}

// address is where clients connect to.
func (n NATS) address() string {
	if n.URL != "" {
		return n.URL
	}
	return "nats://" + n.Listen
}

// Queue says how jobs are handed out. The hub keeps it on the server, for all
// workers.
type Queue struct {
	AckWait       time.Duration `koanf:"ack_wait" min:"100ms" doc:"how long a worker may be silent about a job"`
	MaxDeliver    int           `koanf:"max_deliver" min:"1" doc:"tries of a job before it is given up"`
	MaxAckPending int           `koanf:"max_ack_pending" min:"1" doc:"jobs that are out at all workers at a time"`
	JobTimeout    time.Duration `koanf:"job_timeout" min:"1s" doc:"time of one try at most, from the host's turn on"`
	MaxJobs       int64         `koanf:"max_jobs" doc:"jobs that may wait; submitting waits beyond it; negative: no bound"`

	ResultsMaxAge   time.Duration `koanf:"results_max_age" min:"0s" doc:"how long a result is kept; 0: no bound"`
	ResultsMaxBytes int64         `koanf:"results_max_bytes" min:"0" doc:"disk space of results, beyond which the oldest go; 0: no bound"`
}

// Host says how hosts are spared, by all workers together. The hub keeps it on
// the server, too.
type Host struct {
	PerSecond float64 `koanf:"per_second" doc:"requests a second to one host from all workers together"`
	Burst     int     `koanf:"burst" min:"1" doc:"requests that may come at once after a pause"`
}

// Worker says how one worker works.
type Worker struct {
	Name         string        `koanf:"name" doc:"name on the page; empty: machine and process"`
	Concurrency  int           `koanf:"concurrency" min:"1" max:"10000" doc:"jobs at a time"`
	DrainTimeout time.Duration `koanf:"drain_timeout" min:"0s" doc:"time for jobs under way at the end"`
	RetryBase    time.Duration `koanf:"retry_base" min:"1ms" doc:"rest of a job after its first failure, at most; it doubles"`
}

// Slack is the Slack receiver; without a webhook there is none.
type Slack struct {
	slack.Options

	Webhook config.Secret `koanf:"webhook" doc:"address of an incoming webhook, or empty for none"`
}

func defaults() Settings {
	return Settings{
		NATS:   NATS{Listen: "127.0.0.1:4222", Replicas: 1},
		Queue:  Queue{AckWait: 30 * time.Second, MaxDeliver: 5, MaxAckPending: 1000, JobTimeout: 5 * time.Minute, MaxJobs: 1_000_000},
		Host:   Host{PerSecond: 5, Burst: 1},
		Worker: Worker{Concurrency: 16, DrainTimeout: 20 * time.Second, RetryBase: time.Second},
		Listen: "127.0.0.1:8080", DataDir: "var/fleet", Jobs: 1000, Egress: "127.0.0.1:9050",
		// No bound of the fleet's own: a page may be as large as the queue's server takes.
		Scrape: scrape.Options{Limits: scrape.Limits{MaxBodyBytes: -1}},
		Log:    logging.Options{Level: "info", Redact: []string{"token", "password", "webhook"}},
	}
}

// Validate reports what no tag can say.
func (s Settings) Validate() error {
	var errs []error
	for _, a := range []struct{ key, value string }{{"listen", s.Listen}, {"nats.listen", s.NATS.Listen}, {"egress", s.Egress}} {
		if a.value == "" || a.key == "egress" && a.value == direct {
			continue
		}
		if _, _, err := net.SplitHostPort(a.value); err != nil {
			errs = append(errs, fmt.Errorf("%s %q: write host:port, as 127.0.0.1:8080", a.key, a.value))
		}
	}

	if _, err := s.hosts(); err != nil {
		errs = append(errs, err)
	}
	if s.Host.PerSecond < 0.001 || s.Host.PerSecond > 1e6 {
		errs = append(errs, fmt.Errorf("host.per_second %g: from 0.001 to 1,000,000", s.Host.PerSecond))
	}
	return errors.Join(errs...)
}

// direct as egress is this machine's own address.
const direct = "direct"

// load reads the settings file if one is named, secrets, FLEET_… variables and
// flags; the last win. It returns the arguments that are no flags, too.
func load(ctx context.Context, command string, args []string, stderr io.Writer) (Settings, []string, error) {
	flags := flag.NewFlagSet("fleet "+command, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // a list of all flags after a mistake hides what it is
	file := flags.String("config", "", "settings `file`")
	config.DefineFlags(flags, defaults())

	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(stderr)
		flags.PrintDefaults()
		return Settings{}, nil, err
	case err != nil:
		return Settings{}, nil, fmt.Errorf("%w (fleet %s -help lists the flags)", err, command)
	}

	var layers []config.Option
	if *file != "" {
		layers = append(layers, config.File(*file))
	}
	layers = append(layers, config.SecretsDir("/run/secrets"), config.Env("FLEET"), config.Flags(flags))
	store, err := config.Load(ctx, defaults(), layers...)
	if err != nil {
		return Settings{}, nil, err
	}
	return *store.Get(), flags.Args(), store.Close()
}
