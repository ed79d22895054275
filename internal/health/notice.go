package health

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

// State is a condition of a block that is open.
type State struct {
	// Key is what it is about: the name of a receiver, "file".
	Key string
	// Err is what was reported last.
	Err error
	// Lost says that something is lost or cannot be stored; otherwise it waits.
	Lost bool
	// Count is how many records or messages are lost since the beginning.
	Count int64
	// Since is when it began.
	Since time.Time
	// Failing says that it goes on; otherwise it is well, but not yet for long.
	Failing bool
	// Told says that Logger and OnError know of it.
	Told bool
	// Advice says what to do about it. Empty where nothing is known.
	Advice string
}

// A Notice is what OnError gets: a state that begins, or one that is over. A
// beginning matches the sentinel of the block by errors.Is, and the cause; an
// end matches neither.
type Notice struct {
	State
	// Over says that all was well for as long as Options.After.
	Over bool
	// At is when this was seen. A Notice may wait for the callback before it.
	At time.Time
	// Untold counts notices before this one that found no room in the queue,
	// because a callback did not return.
	Untold int

	component string
	invalid   string
	sentinel  error
}

// Error says what it is about, since when, the cause and what to do.
func (n *Notice) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s: ", n.component, n.Key)
	since := n.Since.UTC().Format(time.RFC3339)

	switch {
	case n.Over:
		fmt.Fprintf(&b, "works again after %s", n.lasted())
		if n.Count > 0 {
			fmt.Fprintf(&b, ", %d lost", n.Count)
		}
		return b.String()
	case n.Lost && n.Count > 0:
		fmt.Fprintf(&b, "%d lost since %s", n.Count, since)
	case n.Lost:
		fmt.Fprintf(&b, "%s since %s", n.invalid, since)
	default:
		fmt.Fprintf(&b, "stuck since %s", since)
	}

	// The package is named once, also where the cause begins with it.
	fmt.Fprintf(&b, ": %s", strings.TrimPrefix(n.Err.Error(), n.component+": "))
	if n.Advice != "" {
		fmt.Fprintf(&b, ": %s", n.Advice)
	}
	return b.String()
}

// Unwrap gives the sentinel and the cause of a beginning, and nothing for an
// end.
func (n *Notice) Unwrap() []error {
	if n.Over {
		return nil
	}
	if n.sentinel == nil {
		return []error{n.Err}
	}
	return []error{n.sentinel, n.Err}
}

// lasted is the time from the beginning to At, without the digits that nobody
// reads.
func (n *Notice) lasted() time.Duration {
	d := n.At.Sub(n.Since)
	if d > time.Second {
		return d.Round(time.Second)
	}
	return d.Round(time.Millisecond)
}

func (n *Notice) log(logger *slog.Logger) {
	ctx := context.Background()
	switch {
	case n.Over:
		logger.LogAttrs(ctx, slog.LevelError, "works again", n.attrs()...)
	case n.Lost:
		logger.LogAttrs(ctx, slog.LevelError, "lost", n.attrs()...)
	default:
		logger.LogAttrs(ctx, slog.LevelError, "stuck", n.attrs()...)
	}
}

func (n *Notice) attrs() []slog.Attr {
	attrs := []slog.Attr{slog.String("part", n.Key), slog.Time("since", n.Since)}
	if n.Over {
		attrs = append(attrs, slog.Duration("lasted", n.lasted()))
	}
	if n.Count > 0 {
		attrs = append(attrs, slog.Int64("count", n.Count))
	}

	attrs = append(attrs, slog.String("error", n.Err.Error()))
	if n.Advice != "" && !n.Over {
		attrs = append(attrs, slog.String("advice", n.Advice))
	}
	if n.Untold > 0 {
		attrs = append(attrs, slog.String("untold", strconv.Itoa(n.Untold)+" before this"))
	}
	return attrs
}

// trouble is the error of Check: all that is told and lasts.
type trouble []*Notice

// maxShown bounds the text of Check's error.
const maxShown = 10

func (t trouble) Error() string {
	var texts []string
	for _, n := range t[:min(len(t), maxShown)] {
		texts = append(texts, n.Error())
	}
	if more := len(t) - maxShown; more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, "\n")
}

func (t trouble) Unwrap() []error {
	all := make([]error, len(t))
	for i, n := range t {
		all[i] = n
	}
	return all
}
