package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// progress shows how far the run is, on a terminal alone: in a file or a pipe
// a bar is noise.
type progress struct {
	w            io.Writer // nil: not shown
	pages, lots  int
	bad, total   int
	shown, begin time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{begin: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (p *progress) add(pg page) {
	p.pages++
	p.lots += len(pg.Lots)
	p.bad += badRows(pg.Problems)
	p.total = max(p.total, pg.Total)
	if p.w != nil && time.Since(p.shown) >= 100*time.Millisecond {
		p.shown = time.Now()
		fmt.Fprint(p.w, "\r"+p.line()+"\x1b[K")
	}
}

const barWidth = 30

// line returns the bar, such as
//
//	[######------------------------]  20 %, 800 of 4000 lots, 16 pages
func (p *progress) line() string {
	done := p.lots + p.bad
	if p.total <= 0 { // the site does not say
		return fmt.Sprintf("%d lots, %d pages", done, p.pages)
	}
	part := min(done, p.total)
	full := part * barWidth / p.total
	return fmt.Sprintf("[%s%s] %3d %%, %d of %d lots, %d pages",
		strings.Repeat("#", full), strings.Repeat("-", barWidth-full), part*100/p.total, done, p.total, p.pages)
}

// end leaves the last state on the screen.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprintln(p.w, "\r"+p.line()+"\x1b[K")
	}
}
