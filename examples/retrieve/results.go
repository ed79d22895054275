package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	"github.com/svcblocks/svcblocks/examples/internal/rows"
	"github.com/svcblocks/svcblocks/examples/internal/tea"
	"github.com/svcblocks/svcblocks/internal/atomicfile"
)

// asProblem is e as a row of problems.csv.
func asProblem(err error) problem {
	e, ok := errors.AsType[*extract.Error](err)
	if !ok {
		return problem{Error: err.Error()}
	}
	return problem{URL: e.URL, Line: e.Line, Column: e.Column, Row: e.Item, Field: e.Field, Text: e.Text, Error: e.Err.Error()}
}

// badRows counts the rows that problems are about.
func badRows(problems []problem) int {
	type row struct {
		url string
		n   int
	}
	seen := map[row]bool{}
	for _, p := range problems {
		seen[row{p.URL, p.Row}] = true
	}
	return len(seen)
}

// again returns the address of the page that shows the lots of an earlier one, as
// a site does that answers a number too high with its last page; empty if none.
func again(pages []page) string {
	seen := map[string]bool{}
	for _, p := range pages {
		var ids strings.Builder
		for _, l := range p.Lots {
			fmt.Fprintf(&ids, "%q", l.ID)
		}
		if ids.Len() > 0 && seen[ids.String()] {
			return p.Path
		}
		seen[ids.String()] = true
	}
	return ""
}

// missing says what a run read less than there is: a next page that was not
// followed or shows what was read before, or fewer lots than the site announces.
func missing(pages []page) string {
	read, total, last := 0, 0, ""
	for i, p := range pages {
		if p.Stop != "" {
			return p.Stop
		}
		if last = p.Path; i > 0 { // the first page has no lots
			read += len(p.Lots) + badRows(p.Problems)
		}
		if p.Total > 0 {
			total = p.Total
		}
	}

	if repeated := again(pages); repeated != "" {
		return repeated + " shows the lots of an earlier page"
	}
	if read < total {
		return fmt.Sprintf("the site announces %d lots, there are %d up to %s, and no page follows it", total, read, last)
	}
	return ""
}

// finish writes the results and removes the journal. A process that dies in
// between finds all pages in the journal when it is started again. Results that
// are worth less than those of an earlier run are not written.
func finish(book *journal, dir string, maxBad float64, incomplete bool, took time.Duration, stdout io.Writer) error {
	var lots []tea.Lot
	var estates []tea.Estate
	var problems []problem
	for _, p := range book.pages {
		lots = append(lots, p.Lots...)
		estates = append(estates, p.Estates...)
		problems = append(problems, p.Problems...)
	}

	bad := badRows(problems)
	all := len(lots) + len(estates) + bad
	share := 100 * float64(bad) / float64(max(1, all))
	less := missing(book.pages)

	if share <= maxBad && (less == "" || incomplete) {
		before := countLots(dir)
		if err := errors.Join(writeTable(dir, "lots", lots), writeTable(dir, "estates", estates)); err != nil {
			return err
		}
		if before > len(lots) {
			fmt.Fprintf(stdout, "there were %d lots in %s before, now there are %d\n", before, dir, len(lots))
		}
	}

	if err := errors.Join(writeTable(dir, "problems", problems), book.remove()); err != nil {
		return err
	}

	fmt.Fprintf(stdout, "%d lots and %d estates of %d pages in %v, %.0f rows/s; %d rows could not be read\n",
		len(lots), len(estates), len(book.pages), took.Round(time.Millisecond), float64(all)/took.Seconds(), bad)

	for i, p := range problems {
		if i == 3 {
			fmt.Fprintf(stdout, "  … all are in %s\n", filepath.Join(dir, "problems.csv"))
			break
		}
		fmt.Fprintf(stdout, "  %s:%d:%d: row %d: %s %q: %s\n", p.URL, p.Line, p.Column, p.Row, p.Field, p.Text, p.Error)
	}

	switch {
	case share > maxBad:
		return fmt.Errorf("%.1f %% of the rows could not be read, more than -max-bad %g, so lots and estates are not written: has the site's markup changed?", share, maxBad)
	case less != "" && !incomplete:
		return fmt.Errorf("%s: so lots and estates are not written; -incomplete takes what there is", less)
	case less != "":
		fmt.Fprintf(stdout, "not everything: %s\n", less)
	}
	return nil
}

// countLots returns the number of lots of an earlier run.
func countLots(dir string) int {
	lots, _ := rows.ReadFile[tea.Lot](filepath.Join(dir, "lots.jsonl")) // none, if it cannot be read
	return len(lots)
}

// writeTable writes items to name.csv and name.jsonl, each as a whole.
func writeTable[T any](dir, name string, items []T) error {
	for ending, write := range map[string]func(io.Writer, []T) error{".csv": rows.WriteCSV[T], ".jsonl": rows.WriteJSONLines[T]} {
		var b bytes.Buffer
		if err := write(&b, items); err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(dir, name+ending), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
