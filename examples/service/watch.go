package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/notify"
	"github.com/svcblocks/svcblocks/scrape"
)

// watcher looks at the page again and again.
type watcher struct {
	store  *config.Store[settings]
	client *scrape.Client
	hub    *notify.Hub
	log    *slog.Logger
	state  atomic.Pointer[state]
}

// state is what the watcher has seen.
type state struct {
	Site, Part     string
	Err            error
	Looks, Changes int
	Looked         time.Time
}

// run looks at once and then every Site.Every, until ctx ends. The settings are
// those of the moment, so that a reload takes effect with the next look.
func (w *watcher) run(ctx context.Context) error {
	for ctx.Err() == nil {
		site := w.store.Get().Site
		part, err := w.look(ctx, site)
		if ctx.Err() == nil {
			w.note(ctx, site.URL, part, err)
		}

		select {
		case <-ctx.Done():
		case <-time.After(site.Every):
		}
	}
	return nil
}

// look fetches the page and returns the part to watch.
func (w *watcher) look(ctx context.Context, site site) (string, error) {
	res, err := w.client.Get(ctx, site.URL)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }() // the body's end was read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}

	found := site.Pattern.FindSubmatch(body)
	switch {
	case res.StatusCode != http.StatusOK:
		return "", fmt.Errorf("%s answered %s", site.URL, res.Status)
	case found == nil:
		return "", fmt.Errorf("%s: site.pattern finds nothing", site.URL)
	}
	return string(found[len(found)-1]), nil
}

// note keeps what was seen, and tells the operator of a change, of a page that
// cannot be had, and when it can be had again.
func (w *watcher) note(ctx context.Context, url, part string, err error) {
	before := w.seen()
	if before.Site != url {
		before = state{Looks: before.Looks, Changes: before.Changes}
	}
	now := state{Site: url, Part: part, Looks: before.Looks + 1, Changes: before.Changes, Looked: time.Now(), Err: err}
	changed := err == nil && before.Part != "" && part != before.Part
	now.Changes += map[bool]int{true: 1}[changed]
	if err != nil {
		now.Part = before.Part
	}
	w.state.Store(&now)

	w.log.Info("looked", "url", url, "bytes", len(part), "changed", changed, "error", err)
	if err != nil || before.Err != nil {
		w.tell(ctx, notify.Message{Key: "site", Level: slog.LevelError, Resolved: err == nil, Subject: "the page cannot be had: " + url, Text: fmt.Sprint(err)})
	}
	if changed {
		w.tell(ctx, notify.Message{Level: slog.LevelWarn, Subject: "the page changed: " + url, Text: fmt.Sprintf("was: %.500s\n\nis: %.500s", before.Part, part)})
	}
}

// tell hands a message to the hub, which keeps it until it is delivered.
func (w *watcher) tell(ctx context.Context, m notify.Message) {
	if err := w.hub.Notify(ctx, m); err != nil {
		w.log.Error("the operator was not told", "error", err)
	}
}

// seen returns what the watcher has seen so far.
func (w *watcher) seen() state {
	return *cmp.Or(w.state.Load(), &state{})
}
