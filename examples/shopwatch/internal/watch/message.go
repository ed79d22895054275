package watch

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/history"
	"github.com/svcblocks/svcblocks/notify"
)

// maxLines bounds the changes that one message lists.
const maxLines = 50

// message is what the operator reads about n.
func (w *Watcher) message(n history.Notice) notify.Message {
	m := notify.Message{ID: n.ID, Time: n.Run.Finished}
	name := w.opts.Name

	// A message about a run has the site's key, so that a site which stays
	// down is one group, which the first good run closes. A message about
	// changes is unlike any other and must not be folded into one.
	m.Key = "site:" + name

	switch n.Kind {
	case history.ChangesFound:
		m.Key = n.ID
		m.Level = slog.LevelInfo
		m.Subject = name + ": " + summary(n.Changes)
		m.Text = list(n.Changes)
		for _, c := range n.Changes {
			if c.Kind == history.ItemGone {
				m.Level = slog.LevelWarn
			}
		}
	case history.RunFailed:
		m.Level = slog.LevelError
		m.Subject = fmt.Sprintf("%s: run %d failed", name, n.Run.ID)
		m.Text = n.Run.Error + "\n\nNothing was read. Items and prices stay as they were; the next run follows by the schedule, or at once where Tor was missing and is back."
	case history.RunPartial:
		m.Level = slog.LevelWarn
		m.Subject = fmt.Sprintf("%s: run %d is incomplete", name, n.Run.ID)
		m.Text = fmt.Sprintf("%s\n\n%d pages were read and %d were not; %d items could not be read. Items that were not seen are not taken as gone.",
			n.Run.Error, n.Run.Pages, n.Run.Failures, n.Run.Problems)
	case history.RunInterrupted:
		m.Level = slog.LevelWarn
		m.Subject = fmt.Sprintf("%s: run %d was cut short", name, n.Run.ID)
		m.Text = fmt.Sprintf("The service ended in the middle of the run, after %d pages. What was read is kept; the next run reads all of them.", n.Run.Pages)
	case history.RunRecovered:
		m.Resolved = true
		m.Subject = name + ": runs are complete again"
		m.Text = fmt.Sprintf("Run %d read %d pages and %d items.", n.Run.ID, n.Run.Pages, n.Run.Items)
	}

	m.Attrs = []slog.Attr{slog.Uint64("run", n.Run.ID), slog.String("trigger", n.Run.Trigger)}
	return m
}

// summary counts the changes: "2 prices changed, 1 item gone".
func summary(changes []history.Change) string {
	count := map[history.Kind]int{}
	for _, c := range changes {
		count[c.Kind]++
	}

	var parts []string
	for _, k := range []struct {
		kind      history.Kind
		one, many string
	}{
		{history.PriceChanged, "price changed", "prices changed"},
		{history.ItemGone, "item gone", "items gone"},
		{history.ItemBack, "item back", "items back"},
	} {
		switch n := count[k.kind]; n {
		case 0:
		case 1:
			parts = append(parts, "1 "+k.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, k.many))
		}
	}

	return strings.Join(parts, ", ")
}

func list(changes []history.Change) string {
	var b strings.Builder
	for i, c := range changes {
		if i == maxLines {
			fmt.Fprintf(&b, "… and %d more; the status page has them all.\n", len(changes)-i)
			break
		}
		fmt.Fprintf(&b, "%s: %s\n  %s\n", c.Name, describe(c), c.URL)
	}
	return b.String()
}

func describe(c history.Change) string {
	switch c.Kind {
	case history.ItemGone:
		return "gone, last at " + c.Old.String()
	case history.ItemBack:
		return "back at " + c.New.String() + ", before " + c.Old.String()
	default:
		return c.Old.String() + " → " + c.New.String() + percent(c.Old, c.New)
	}
}

func percent(from, to extract.Price) string {
	if from.Cents == 0 || from.Currency != to.Currency {
		return ""
	}
	return fmt.Sprintf(" (%+.1f %%)", 100*float64(to.Cents-from.Cents)/float64(from.Cents))
}
