// Package settings is the service's configuration: its keys, their defaults,
// and what of it belongs to which block.
package settings

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/auth"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/chat"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/profiling"
	"github.com/svcblocks/svcblocks/internal/loopback"
	"github.com/svcblocks/svcblocks/internal/safehttp"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/email"
	"github.com/svcblocks/svcblocks/notify/slack"
	"github.com/svcblocks/svcblocks/scrape"
)

// Demo in place of an address stands for the part that the service brings
// along.
const Demo = "demo"

// Settings are all settings of the service.
type Settings struct {
	Listen          string          `koanf:"listen" doc:"host:port of the status page; port 0 takes a free one"`
	DataDir         string          `koanf:"data_dir" doc:"folder for the history and the outbox"`
	DataShared      bool            `koanf:"data_shared" doc:"take a data_dir that another user owns or may write, as mounts of WSL and Docker Desktop show theirs"`
	ShutdownTimeout time.Duration   `koanf:"shutdown_timeout" min:"1s" max:"10m" doc:"how long pages on their way, log lines and messages may take at the end"`
	SecretsEvery    time.Duration   `koanf:"secrets_every" doc:"how often references such as ref+vault://… are resolved anew, beside what their leases ask for; negative: never"`
	Site            Site            `koanf:"site"`
	Tor             Tor             `koanf:"tor"`
	Scrape          scrape.Options  `koanf:"scrape"`
	Log             logging.Options `koanf:"log"`
	Ship            Ship            `koanf:"ship"`
	Mail            email.Options   `koanf:"mail"` // without a host there is no mail
	Slack           Slack           `koanf:"slack"`
	Telegram        chat.Telegram   `koanf:"telegram"`
	Discord         chat.Discord    `koanf:"discord"`
	Teams           chat.Teams      `koanf:"teams"`
	Notify          notify.Options  `koanf:"notify"` // receivers are called mail, slack, telegram, discord and teams
	Server          Server          `koanf:"server"`
	Auth            auth.Config     `koanf:"auth"` // without an issuer page and API are open
	Profiling       Profiling       `koanf:"profiling"`
}

// Site is the listing that is watched.
type Site struct {
	Name       string            `koanf:"name" doc:"name in messages; default: the host"`
	URL        string            `koanf:"url" required:"true" doc:"first page of the listing, or demo for the shop that comes along"`
	Every      time.Duration     `koanf:"every" doc:"time from run to run; 15m if 0; negative: only when asked, not even at the start"`
	MaxPages   int               `koanf:"max_pages" min:"1" max:"100000" doc:"pages of one run at most"`
	Workers    int               `koanf:"workers" min:"1" max:"256" doc:"pages fetched at the same time"`
	RunTimeout time.Duration     `koanf:"run_timeout" doc:"time of one run at most; negative: no bound"`
	GoneAfter  int               `koanf:"gone_after" min:"1" max:"1000" doc:"complete runs in a row that must miss an item before it counts as gone"`
	Trace      bool              `koanf:"trace" doc:"send the header traceparent: for a site of your own, and only without Tor, as it shows which requests belong together"`
	Selectors  extract.Selectors `koanf:"selectors"`
}

// Server is what the status page and the API answer to.
type Server struct {
	PublicURL string   `koanf:"public_url" doc:"address under which browsers reach the page, as https://watch.example/ or https://example/watch/; default: that of listen"`
	Hosts     []string `koanf:"hosts" doc:"further names by which the page, the API and the probes are asked, as watch.example or service:8080; addresses, localhost and the hosts of listen and server.public_url always are"`
}

// Profiling is for finding out where time and memory go.
type Profiling struct {
	Listen string `koanf:"listen" doc:"host:port of net/http/pprof, on this machine's own address; empty for none"`
}

// Validate reports an address that others could reach.
func (p Profiling) Validate() error {
	if p.Listen == "" {
		return nil
	}
	if err := profiling.CheckAddress(p.Listen); err != nil {
		return fmt.Errorf("profiling.listen %w", err)
	}
	return nil
}

// Ship is where log lines are sent in bulk.
type Ship struct {
	URL     string        `koanf:"url" doc:"endpoint that takes JSON lines, demo, or empty for none"`
	Token   config.Secret `koanf:"token" doc:"bearer token"`
	IDField string        `koanf:"id_field" doc:"member of each line that holds the event's id"`

	AllowPlainHTTP bool `koanf:"allow_plain_http" doc:"send the token in clear over http to another machine"`
}

// Slack is the Slack receiver; without a webhook there is none.
type Slack struct {
	slack.Options

	Webhook config.Secret `koanf:"webhook" doc:"address of an incoming webhook, demo, or empty for none"`
}

// Defaults are the values of keys that no layer sets. The service starts
// without Tor, as its page then says what is wrong and requests work once it is
// right.
func Defaults() Settings {
	return Settings{
		Listen:          "127.0.0.1:8080",
		DataDir:         "var",
		ShutdownTimeout: 10 * time.Second,
		SecretsEvery:    time.Minute,
		Site:            Site{Every: 15 * time.Minute, MaxPages: 1000, Workers: 4, RunTimeout: 30 * time.Minute, GoneAfter: 1},
		Scrape:          scrape.Options{DisableStartCheck: true},
		Log: logging.Options{
			Level:   "info",
			File:    logging.FileOptions{Path: "var/log/service.log"},
			Console: logging.ConsoleOptions{Format: "off"},
			Redact:  []string{"password", "authorization", "token", "webhook"},
		},
		Ship: Ship{IDField: "event_id"},
	}
}

// RotateEvery is the number of requests of one identity; 0 if it has no bound.
func (s Settings) RotateEvery() int {
	if s.Scrape.Rotation.Every == 0 {
		return 25 // the client's default
	}
	return max(0, s.Scrape.Rotation.Every)
}

// Validate reports what no tag can say.
func (s Settings) Validate() error {
	var errs []error
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen %q: write host:port, as 127.0.0.1:8080", s.Listen))
	}
	if _, err := s.Hosts(); err != nil {
		errs = append(errs, err)
	}

	if s.DataDir == "" {
		errs = append(errs, errors.New("data_dir is empty: name a folder"))
	}
	if s.Site.Trace && !s.Tor.Disabled && s.Site.URL != Demo {
		errs = append(errs, errors.New("site.trace would show which requests belong together, which Tor is there to hide: set tor.disabled, or leave site.trace out"))
	}
	if s.Mail.Port < 0 || s.Mail.Port > 65535 {
		errs = append(errs, fmt.Errorf("mail.port %d: write 1 to 65535, or 0 for the usual one", s.Mail.Port))
	}
	return errors.Join(errs...)
}

// Validate reports an address that cannot be fetched.
func (s Site) Validate() error { return webAddress("site.url", s.URL) }

// Validate reports an address that no browser takes.
func (s Server) Validate() error {
	if s.PublicURL == Demo {
		return errors.New("server.public_url: nothing of the demo answers there: write an address, or leave it out")
	}
	return webAddress("server.public_url", s.PublicURL)
}

// Validate reports an address that cannot be posted to, and one to which the
// token would travel in clear.
func (s Ship) Validate() error {
	if err := webAddress("ship.url", s.URL); err != nil || s.URL == "" || s.URL == Demo || s.Token.IsZero() {
		return err
	}
	if _, err := (safehttp.Rule{Secret: true, AllowPlain: s.AllowPlainHTTP, OptOut: "ship.allow_plain_http"}).Parse(s.URL); err != nil {
		return fmt.Errorf("ship.url: %w", err)
	}
	return nil
}

// webAddress checks an address; an empty one is somebody else's business.
func webAddress(key, value string) error {
	if value == Demo || value == "" {
		return nil
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%s: write an address that begins with http:// or https://, or %s", key, Demo)
	}
	if u.User != nil {
		return fmt.Errorf("%s: a user name or password in the address would show on the page: leave it out", key)
	}
	return nil
}

// Secrets are all values that must not show anywhere.
func (s Settings) Secrets() []config.Secret {
	return []config.Secret{
		s.Ship.Token, s.Mail.Password, s.Slack.Webhook, s.Telegram.Token, s.Discord.Webhook, s.Teams.Webhook, s.Tor.Password,
		s.Auth.ClientSecret, s.Auth.SessionKey,
	}
}

// Hosts are the names that the server answers to.
func (s Settings) Hosts() (*safehttp.Hosts, error) {
	return safehttp.NewHosts("server.hosts", append([]string{s.Listen, s.Server.PublicURL}, s.Server.Hosts...)...)
}

// ListensEverywhere reports whether the page is served at all addresses of the
// machine, whatever it is called from outside.
func (s Settings) ListensEverywhere() bool {
	host, _, err := net.SplitHostPort(s.Listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip != nil && ip.IsUnspecified())
}

// ListensLocally reports whether the page is for this machine alone.
func (s Settings) ListensLocally() bool {
	host, _, err := net.SplitHostPort(s.Listen)
	return err == nil && loopback.Is(host)
}
