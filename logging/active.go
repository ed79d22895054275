package logging

import (
	"os"

	"github.com/svcblocks/svcblocks/logging/internal/queue"
)

// active is the file that records are appended to.
type active struct {
	file   *os.File // nil: none is open
	fd     uintptr  // of file
	path   string   // also of one that could not be opened
	size   int64
	events int64
	torn   bool // the last line is unfinished: begin with a newline
}

// use makes file, which has the name path, the active one.
func (a *active) use(file *os.File, path string) {
	*a = active{file: file, fd: file.Fd(), path: path}
}

// none notes that no file is open.
func (a *active) none() { *a = active{path: a.path} }

// here reports whether the path still leads to the file.
func (a *active) here() bool { return queue.SameFile(a.file, a.path) }

// write appends p, which holds so many records, and returns how many bytes were
// written: all, or none that stay.
func (a *active) write(p []byte, records int64) (int, error) {
	if a.torn {
		p = append([]byte{'\n'}, p...)
	}
	n, err := writeFile(a.file, a.path, a.fd, p)
	if err != nil {
		a.cutBack(n)
		return 0, err
	}

	a.torn = false
	a.size += int64(n)
	a.events += records
	return n, nil
}

// cutBack removes the n bytes of a record that was written in part.
func (a *active) cutBack(n int) {
	if n == 0 {
		return
	}
	// The size is asked for, as somebody else may have truncated the file:
	// cutting at a remembered size would fill a hole with zeros.
	info, err := a.file.Stat()
	if err == nil {
		err = a.file.Truncate(max(0, info.Size()-int64(n)))
	}
	if err != nil {
		a.torn = true
		a.size += int64(n)
	}
}

// missing returns how many bytes and records somebody else cut off.
func (a *active) missing() (size, events int64) {
	info, err := a.file.Stat()
	if err != nil || info.Size() >= a.size {
		return 0, 0
	}
	left, _ := queue.CountLines(a.file, 0, info.Size()) // failing that, all are lost
	return a.size - info.Size(), max(1, a.events-left)
}
