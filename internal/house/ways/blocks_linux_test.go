package ways

import (
	stdcontext "context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/config/vault"
	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/notify/webhook"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/diskcache"
)

// hearing is who is told.
type hearing struct {
	logger  *slog.Logger
	onError func(error)
}

// A subject is a block at work.
type subject interface {
	// used does what the block is for once, and returns what its caller gets.
	used() error
	Check(ctx stdcontext.Context) error
	Close() error
	block() string
	// folder is where it keeps its files; file is the one that it has open.
	folder() string
	file() string
	// restore puts folder and file back as far as a person would.
	restore()
}

// blocks makes subjects.
var blocks = map[string]struct {
	start       func(w *world, dir string, h hearing) subject
	lost, stuck error
}{
	"config":  {newStore, config.ErrLost, config.ErrStuck},
	"logging": {newLogs, logging.ErrLost, logging.ErrStuck},
	"notify":  {newHub, notify.ErrLost, notify.ErrStuck},
	"scrape":  {newClient, scrape.ErrLost, scrape.ErrStuck},
}

// place is where a block keeps its files.
type place struct {
	w   *world
	dir string
}

func (p place) folder() string { return p.dir }

// logs is a log that is shipped.
type logs struct {
	*logging.Logs
	place
	n int
}

func newLogs(w *world, dir string, h hearing) subject {
	l, err := logging.New(logOptions(w.url(), dir, h, w.bound))
	w.must(err)
	return &logs{Logs: l, place: place{w, dir}}
}

func logOptions(url, dir string, h hearing, bound time.Duration) *logging.Options {
	sink, err := httpjson.New(&httpjson.Options{URL: url + "/log"})
	if err != nil {
		panic(err)
	}
	return &logging.Options{
		File: logging.FileOptions{Path: filepath.Join(dir, "log", "app.log")}, Console: logging.ConsoleOptions{Format: "off"}, Sink: sink,
		Ship: logging.ShipperOptions{
			Interval: 50 * time.Millisecond,
			Retry:    logging.Retry{Base: 10 * time.Millisecond, Max: 100 * time.Millisecond},
		},
		StuckAfter: bound, Logger: h.logger, OnError: h.onError,
	}
}

func (l *logs) block() string { return "logging" }
func (l *logs) file() string  { return filepath.Join(l.dir, "log", "app.log") }
func (l *logs) restore()      {} // the log does it by itself

func (l *logs) used() error {
	l.n++
	return l.Logger("house").Handler().Handle(context(), slog.NewRecord(time.Now(), slog.LevelInfo, fmt.Sprint("line ", l.n, strings.Repeat(" and on", 100)), 0))
}

// hub is a hub with an outbox and a webhook.
type hub struct {
	*notify.Hub
	place
	n int
}

func newHub(w *world, dir string, h hearing) subject {
	made, err := notify.New(hubOptions(w.url(), dir, h, w.bound))
	w.must(err)
	return &hub{Hub: made, place: place{w, dir}}
}

func hubOptions(url, dir string, h hearing, bound time.Duration) *notify.Options {
	hook, err := webhook.New(&webhook.Options{
		URL: secret.New(url + "/alert"), Body: `{"text": {{json .Subject}}}`, AllowPlainHTTP: true,
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, Rate: 0, Burst: 1000,
	})
	if err != nil {
		panic(err)
	}
	return &notify.Options{
		Receivers: []notify.Receiver{{
			Name: "ops", Notifier: hook, Rate: notify.Rate{Per: -1},
			Retry: notify.Retry{Base: 10 * time.Millisecond, Max: 100 * time.Millisecond},
		}},
		Group: notify.Group{Interval: -1}, Outbox: notify.Outbox{Dir: filepath.Join(dir, "outbox"), Service: "house"},
		StuckAfter: bound, Logger: h.logger, OnError: h.onError,
	}
}

func (h *hub) block() string { return "notify" }

func (h *hub) file() string {
	found, err := filepath.Glob(filepath.Join(h.dir, "outbox", "*", "journal"))
	h.w.must(err)
	if len(found) != 1 {
		h.w.t.Fatalf("the journals of the outbox are %v", found)
	}
	return found[0]
}

func (h *hub) restore() {} // the hub does it by itself

func (h *hub) used() error {
	h.n++
	return h.Notify(context(), notify.Message{Level: slog.LevelError, Subject: fmt.Sprint("alert ", h.n), Text: strings.Repeat("and on ", 500)})
}

// store is settings with a reference to a Vault.
type store struct {
	*config.Store[settings]
	place
	n    int
	stop func()
}

type settings struct {
	N        int
	Password config.Secret
}

const settingsText = "n: 1\npassword: ref+vault://kv/mail#password\n"

func newStore(w *world, dir string, h hearing) subject {
	path := filepath.Join(dir, "settings", "settings.yaml")
	w.must(os.Mkdir(filepath.Dir(path), 0o700))
	w.must(os.WriteFile(path, []byte(settingsText), 0o600))
	resolver, err := vault.New(&vault.Options{
		Address: w.url(), Token: secret.New("hvs.token-of-this-test"), AllowPlainHTTP: true, Retry: vault.Retry{Attempts: 1},
		Client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	})
	w.must(err)
	options := []config.Option{
		config.File(path, config.Writable()), config.Resolve("vault", resolver), config.StuckAfter(w.bound),
		config.RefreshEvery(50 * time.Millisecond), config.Poll(50 * time.Millisecond), config.OnError(h.onError),
	}
	if h.logger != nil {
		options = append(options, config.Logger(h.logger))
	}
	made, err := config.Load(context(), settings{}, options...)
	w.must(err)

	ctx, cancel := stdcontext.WithCancel(context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = made.Run(ctx) }) // Close says what is wrong
	return &store{Store: made, place: place{w, dir}, stop: func() { cancel(); wg.Wait() }}
}

func (s *store) block() string { return "config" }
func (s *store) file() string  { return filepath.Join(s.dir, "settings", "settings.yaml") }

func (s *store) restore() {
	s.w.must(os.MkdirAll(filepath.Dir(s.file()), 0o700))
	s.w.must(os.WriteFile(s.file(), []byte(settingsText), 0o600))
}

// used changes the file where that is the trouble; a change would mend others.
func (s *store) used() error {
	if !s.w.writes {
		return nil
	}
	s.n++
	ctx, cancel := stdcontext.WithTimeout(context(), 500*time.Millisecond)
	defer cancel()
	return s.Set(ctx, "n", fmt.Sprint(s.n))
}

func (s *store) Close() error {
	s.stop()
	return s.Store.Close()
}

// client is a client with a proxy as its way out, and a crawl with a journal.
type client struct {
	*scrape.Client
	place
	step chan struct{}
	stop func()
	mu   sync.Mutex
	err  error // of the last crawl
}

func newClient(w *world, dir string, h hearing) subject {
	var cache scrape.Cache
	if w.caches {
		opened, err := diskcache.Open(context(), filepath.Join(dir, "cache"), &diskcache.Options{KeepFor: time.Nanosecond})
		w.must(err)
		cache = opened
	}
	made, err := scrape.New(context(), &scrape.Options{
		Cache:  cache,
		Egress: scrape.Proxies(w.url()), HostLimit: scrape.HostLimit{PerSecond: -1}, Robots: scrape.Robots{},
		Retry:      scrape.Retry{Attempts: -1, Base: time.Millisecond, Max: 10 * time.Millisecond},
		StuckAfter: w.bound, Logger: h.logger, OnError: h.onError,
	})
	w.must(err)
	ctx, cancel := stdcontext.WithCancel(context())
	c := &client{Client: made, place: place{w, dir}, step: make(chan struct{})}
	var wg sync.WaitGroup
	wg.Go(func() { c.crawl(ctx) })
	c.stop = func() { cancel(); wg.Wait() }
	return c
}

// crawl goes from page to page, one for each use. The addresses are long, so that
// what is left in the last block of a full disk is soon used up.
func (c *client) crawl(ctx stdcontext.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		first := fmt.Sprintf("https://%s/%d/%s", site, n, strings.Repeat("0", 1<<10))
		err := c.Crawl(ctx, []scrape.Request{{URL: first}}, &scrape.CrawlOptions{Dir: filepath.Join(c.dir, "crawl"), Workers: 1, MaxPages: -1},
			func(v *scrape.Visit) error {
				select {
				case <-c.step:
				case <-ctx.Done():
					return ctx.Err()
				}
				v.Add(v.Request.URL + "0")
				if v.Err == nil {
					_, _ = io.Copy(io.Discard, v.Response.Body) // what comes of it is not looked at
				}
				return nil
			})
		c.mu.Lock()
		c.err = err
		c.mu.Unlock()
	}
}

func (c *client) block() string { return "scrape" }
func (c *client) file() string  { return filepath.Join(c.dir, "crawl", "crawl.jsonl") }

// restore removes a journal that is none; one that was removed is made again.
func (c *client) restore() {
	if text, err := os.ReadFile(c.file()); err == nil && string(text) == replaced {
		c.w.must(os.Remove(c.file()))
	}
}

func (c *client) used() error {
	select {
	case c.step <- struct{}{}:
	case <-time.After(10 * time.Millisecond):
	}
	res, err := c.Get(context(), "https://"+site+"/")
	if err == nil {
		_, err = io.Copy(io.Discard, res.Body)
		err = errors.Join(err, res.Body.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	err = errors.Join(err, c.err)
	c.err = nil
	return err
}

func (c *client) Close() error {
	c.stop()
	return c.Client.Close()
}

// TestHolder takes a lock and waits; it is no test unless the variable is set.
func TestHolder(t *testing.T) {
	part := strings.Fields(testenv.Child(t, holderVariable, "TestCell"))
	if len(part) != 3 {
		t.Fatalf("%q is not a block, a folder and an address", part)
	}
	block, dir, url := part[0], part[1], part[2]
	quiet := hearing{logger: slog.New(slog.DiscardHandler)}
	switch block {
	case "config":
		f, err := os.Open(filepath.Join(dir, "settings"))
		if err == nil {
			err = filelock.Lock(t.Context(), f)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	case "logging":
		l, err := logging.New(logOptions(url+heldPath, dir, quiet, usualBound))
		if err != nil {
			t.Fatal(err)
		}
		// The others may ship a line of it, so that it goes on until it has the turn.
		go func() {
			for {
				l.Logger("holder").Info("held")
				<-time.After(20 * time.Millisecond)
			}
		}()
	case "notify":
		h, err := notify.New(hubOptions(url+heldPath, dir, quiet, usualBound))
		if err == nil {
			err = h.Notify(t.Context(), notify.Message{Level: slog.LevelError, Subject: "held"})
		}
		if err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("%s has no lock that another process could hold", block)
	}
	fmt.Println("holding")
	<-make(chan struct{})
}
