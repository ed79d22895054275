package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/svcblocks/svcblocks/logging"
)

// tail shows a log, which is many files, as one.
func tail(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	flags := flag.NewFlagSet("logship tail", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "the folder of the log")
	name := flags.String("name", "", "the log in it, such as app.log; empty: the only one")
	follow := flags.Bool("f", false, "go on with what is written from now on")
	raw := flags.Bool("raw", false, "show lines as they were written, in JSON")
	color := flags.String("color", "auto", "auto: on a terminal unless NO_COLOR is set; always or never")

	var show filter
	flags.Func("level", "show `debug, info, warn or error` and what is above", func(s string) error {
		level, err := parseLevel(s)
		show.level = &level
		return err
	})
	flags.Func("component", "show these `components`, with commas: orders.http, or orders.* for a family", func(s string) error {
		show.components = strings.Split(s, ",")
		return nil
	})
	flags.Func("since", "show from this `time` on: \"2006-01-02 15:04\", or how long ago, 10m", func(s string) (err error) {
		show.since, err = parseTime(s, time.Now())
		return err
	})
	flags.Func("until", "show up to this `time`", func(s string) (err error) {
		show.until, err = parseTime(s, time.Now())
		return err
	})
	flags.Func("text", "show lines in which this `regular expression` is found", func(s string) (err error) {
		show.text, err = regexp.Compile(s)
		return err
	})

	if err := flags.Parse(args); err != nil {
		return err
	}

	if err := checkDir(flags, *dir); err != nil {
		return err
	}
	if *name == "" {
		if *name, err = onlyLog(*dir); err != nil {
			return err
		}
	}

	colored := *color == "always" || *color == "auto" && isTerminal(stdout) && os.Getenv("NO_COLOR") == ""
	if *color != "auto" && *color != "always" && *color != "never" {
		return fmt.Errorf("-color %q is none of auto, always and never", *color)
	}

	p, err := newPrinter(stdout, *raw, colored)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()

	f := &follower{dir: *dir, name: *name, since: show.since, once: !*follow, tell: func(file string, err error) {
		_, _ = fmt.Fprintf(stderr, "logship: %s: %v\n", file, err)
	}}
	defer f.Close()

	for ctx.Err() == nil {
		line, err := f.next()
		switch {
		case err == nil:
			err = p.print(ctx, &show, line)
		case errors.Is(err, io.EOF) && !*follow:
			return nil
		case errors.Is(err, io.EOF):
			err = p.out.Flush()
			pause(ctx, listEvery)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printer writes events for people, as the console of package logging does.
type printer struct {
	out     *bufio.Writer
	raw     bool
	colored bool
	logs    *logging.Logs
	shown   map[string]slog.Handler // by component
	day     string
}

func newPrinter(w io.Writer, raw, colored bool) (*printer, error) {
	p := &printer{out: bufio.NewWriterSize(w, 64<<10), raw: raw, colored: colored, shown: map[string]slog.Handler{}}
	color := "never"
	if colored {
		color = "always"
	}
	var err error
	p.logs, err = logging.New(&logging.Options{
		Level:   "debug-1000", // what is shown is the filter's
		Console: logging.ConsoleOptions{Format: "text", Color: color, Writer: p.out},
	})
	return p, err
}

// print writes a line if it is to be shown.
func (p *printer) print(ctx context.Context, show *filter, line []byte) error {
	if show.text != nil && !show.text.Match(line) {
		return nil
	}

	var e event
	var noEvent error
	if !p.raw || show.needsEvent() {
		if e, noEvent = parseEvent(line); noEvent == nil && !show.matches(e) || noEvent != nil && show.needsEvent() {
			return nil
		}
	}

	switch {
	case p.raw:
		_, err := p.out.Write(append(line, '\n'))
		return err
	case noEvent != nil:
		_, err := p.out.WriteString(harmless(line) + "\n")
		return err
	}
	if err := p.printDay(e.time); err != nil {
		return err
	}

	r := slog.NewRecord(e.time.Local(), e.level, e.message, 0)
	r.AddAttrs(e.attrs...)
	return p.handler(e.component).Handle(ctx, r)
}

// printDay writes the day before the first event of each, as events have the
// time of day alone.
func (p *printer) printDay(at time.Time) error {
	day := at.Local().Format(time.DateOnly)
	if at.IsZero() || day == p.day {
		return nil
	}
	p.day = day
	format := "%s\n"
	if p.colored {
		format = "\x1b[2m%s\x1b[0m\n"
	}
	_, err := fmt.Fprintf(p.out, format, day)
	return err
}

func (p *printer) handler(component string) slog.Handler {
	h := p.shown[component]
	if h == nil {
		h = p.logs.Handler()
		if component != "" {
			h = h.WithAttrs([]slog.Attr{slog.String("component", component)})
		}
		p.shown[component] = h
	}
	return h
}

// harmless returns a line without what a terminal would obey.
func harmless(line []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, string(line))
}

// Close writes what is left.
func (p *printer) Close() error { return errors.Join(p.out.Flush(), p.logs.Close()) }

// pause waits, and ends with ctx.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
