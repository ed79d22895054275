package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

// segment matches the name of a sealed segment: log, time of sealing, random
// digits.
var segment = regexp.MustCompile(`^(.+)-([0-9]{20})-[0-9]{6}(\.[^.]+)?$`)

// sealedAt returns when a segment was sealed, by the digits of its name.
func sealedAt(digits string) (time.Time, bool) {
	at, err := time.Parse("20060102150405.000000", digits[:14]+"."+digits[14:])
	return at, err == nil
}

// inspect lists the segments, the active files and the quarantine in dir.
func inspect(dir, name string, w io.Writer) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "file\tstate\tsealed\tsize\tlines")

	files := 0
	for _, e := range entries {
		state, sealed := "", ""
		switch m := segment.FindStringSubmatch(e.Name()); {
		case m != nil && (name == "" || m[1]+m[3] == name):
			state = "waiting"
			if at, ok := sealedAt(m[2]); ok {
				sealed = at.Local().Format(time.DateTime)
			}
		case strings.HasSuffix(e.Name(), quarantineSuffix) && (name == "" || e.Name() == name+quarantineSuffix):
			state = "quarantined"
		case isActive(dir, e.Name()) && (name == "" || logOf(e.Name()) == name):
			state = "active"
		default:
			continue
		}

		lines, bytes, err := count(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) && e.Type()&fs.ModeSymlink == 0 {
			continue // shipped meanwhile
		}
		files++
		if err != nil { // the others are listed all the same
			fmt.Fprintf(table, "%s\tunreadable: %v\t%s\t\t\n", e.Name(), cause(err), sealed)
			continue
		}

		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\n", e.Name(), state, sealed, size(bytes), lines)
	}

	if files == 0 {
		_, err := fmt.Fprintf(w, "nothing waits in %s\n", dir)
		return err
	}
	return table.Flush()
}

// logOf returns the log whose active file name may be: app.log for app.log and
// for app~1.log, the file of a second process.
func logOf(name string) string {
	if m := second.FindStringSubmatch(name); m != nil {
		return m[1] + m[2]
	}
	return name
}

var second = regexp.MustCompile(`^(.+)~[1-9][0-9]*(\.[^.]+)?$`)

// isActive reports whether name is a file of a log that is written to: the mark
// of the log is there.
func isActive(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, "."+logOf(name)+".queue"))
	return err == nil
}

// errNoFile says that an entry is a folder, a pipe or a device, which to open
// could wait for ever.
var errNoFile = errors.New("no regular file")

// cause returns err without the path, which stands beside it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

func count(path string) (lines, size int64, err error) {
	if info, err := os.Stat(path); err != nil {
		return 0, 0, err
	} else if !info.Mode().IsRegular() {
		return 0, 0, errNoFile
	}

	f, err := os.Open(path)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()

	buf := make([]byte, 64<<10)
	for {
		n, err := f.Read(buf)
		lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return lines, size, nil
		}
		if err != nil {
			return 0, 0, err
		}
	}
}

const quarantineSuffix = ".quarantine"

// requeueAll writes quarantined events back to their logs, as new events, and
// removes the quarantine.
func requeueAll(dir, name string, w io.Writer) error {
	found, err := filepath.Glob(filepath.Join(dir, "*"+quarantineSuffix))
	if err != nil {
		return err
	}
	slices.Sort(found)

	for _, path := range found {
		log := strings.TrimSuffix(path, quarantineSuffix)
		if name != "" && filepath.Base(log) != name {
			continue
		}

		// Set aside first: a shipper may quarantine more meanwhile.
		aside := path + ".requeue"
		if _, err := os.Lstat(aside); err == nil {
			return fmt.Errorf("%s is left from an attempt that failed: some of it may be in the queue; look at it, then remove it", aside)
		}

		if err := os.Rename(path, aside); err != nil {
			return err
		}
		n, err := requeue(aside, log)
		if err != nil {
			return fmt.Errorf("%d events of %s are in the queue again: %w", n, aside, err)
		}

		if err := os.Remove(aside); err != nil {
			return err
		}
		fmt.Fprintf(w, "%d events of %s are in the queue again\n", n, filepath.Base(path))
	}

	return nil
}

func requeue(path, log string) (n int, err error) {
	in, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close()

	out, err := logging.OpenFile(&logging.FileOptions{Path: log, MaxTotalBytes: -1})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()

	for r := bufio.NewReader(in); ; n++ {
		text, err := r.ReadBytes('\n')
		if len(text) == 0 && errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return n, err
		}

		var entry struct {
			Line *string `json:"line"`
		}
		if err := json.Unmarshal(text, &entry); err != nil || entry.Line == nil {
			return n, fmt.Errorf("entry %d is none of a quarantine", n+1)
		}
		if _, err := out.Write([]byte(*entry.Line + "\n")); err != nil {
			return n, err
		}
	}
}
