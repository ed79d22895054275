package notify

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

const (
	// maxLines bounds what a summary names; the rest it counts.
	maxLines = 200
	// maxLineText bounds what a summary shows of a message's text.
	maxLineText = 300
)

// limiter bounds the messages to one receiver: a token bucket, and what waits
// for a token. Its hub's mutex guards it.
type limiter struct {
	task
	rate   Rate
	tokens float64
	last   time.Time

	top   slog.Level // the highest level that went out
	topAt time.Time

	held []*delivery // by level, then time
	more int         // messages that found no place in held
}

func (l *limiter) off() bool { return l.rate.Per < 0 }

func (l *limiter) refill(now time.Time) {
	if !l.last.IsZero() && now.After(l.last) {
		l.tokens = min(float64(l.rate.Burst), l.tokens+float64(now.Sub(l.last))/float64(l.rate.Per))
	}
	l.last = now
}

// pass takes a token. Without one an end, or a level above any that went out of
// late, goes on credit.
func (l *limiter) pass(level slog.Level, end bool, now time.Time) bool {
	if l.off() {
		return true
	}
	l.refill(now)
	higher := level > l.top || now.Sub(l.topAt) >= l.rate.Per
	// A wait computed below may end a nanosecond short of a whole token.
	enough := l.tokens > 1-1e-6 && len(l.held) == 0
	if !enough && !((end || higher) && l.credit()) {
		return false
	}
	l.spend(level, now)
	return true
}

// credit reports whether a message may go out without a token.
func (l *limiter) credit() bool { return l.tokens > -float64(l.rate.Burst)+1-1e-6 }

func (l *limiter) spend(level slog.Level, now time.Time) {
	l.tokens--
	if level >= l.top || now.Sub(l.topAt) >= l.rate.Per {
		l.top, l.topAt = level, now
	}
}

// ready returns when there is a token.
func (l *limiter) ready(now time.Time) time.Time {
	l.refill(now)
	if l.tokens > 1-1e-6 {
		return now
	}
	return now.Add(max(1, time.Duration((1-l.tokens)*float64(l.rate.Per))))
}

// spent works out the tokens that are left when the last words of entries went out.
func (l *limiter) spent(list []*entry) {
	slices.SortFunc(list, func(a, b *entry) int { return a.base.Compare(b.base) })
	for _, e := range list {
		l.refill(e.base)
		l.tokens = max(l.tokens-1, -float64(l.rate.Burst))
	}
}

// hold puts d among those that wait for a token. One that finds no place gives
// way and is counted.
func (l *limiter) hold(d *delivery) (out *delivery) {
	i, _ := slices.BinarySearchFunc(l.held, d, func(a, b *delivery) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.order, b.order))
	})
	l.held = slices.Insert(l.held, i, d)
	if len(l.held) <= maxLines {
		return nil
	}
	last := len(l.held) - 1
	out = l.held[last]
	l.held = slices.Delete(l.held, last, last+1)
	return out
}

func (l *limiter) drop(d *delivery) {
	l.held = slices.DeleteFunc(l.held, func(o *delivery) bool { return o == d })
}

// line is one message in a summary.
type line struct {
	e     *entry // nil if grouping is off
	level slog.Level
	title string
	text  string
	n     int
}

// summary words one message for lines, the first of which is the most serious,
// and more that no line names.
func summary(lines []line, more int) Message {
	m := Message{Level: lines[0].level}
	total := more

	var b strings.Builder
	for i, l := range lines {
		n, title := l.n, l.title
		if l.e != nil {
			n = max(1, l.e.fresh)
			if !l.e.open && !strings.HasPrefix(title, "[Resolved]") {
				title = "[Resolved] " + title
			}
		}

		total += n
		if i == 0 {
			m.Subject = title
		}
		fmt.Fprintf(&b, "- %s %s", l.level, title)
		if n > 1 {
			fmt.Fprintf(&b, " (×%d)", n)
		}

		b.WriteByte('\n')
		if text := strings.TrimSpace(l.text); text != "" && text != title && i < 20 {
			b.WriteString("  " + strings.ReplaceAll(text, "\n", "\n  ") + "\n")
		}
	}

	if more > 0 {
		fmt.Fprintf(&b, "- and %d more\n", more)
	}
	m.Subject += ", and others"
	m.Text = "More messages came than Rate lets through. These were held, the most serious first:\n\n" + strings.TrimSuffix(b.String(), "\n")
	m.Count, m.New = total, total
	return m
}
