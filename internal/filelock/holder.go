package filelock

import (
	"fmt"
	"os"
	"time"
)

// Holder is what the holder of a lock has written into its file.
type Holder struct {
	// PID is its process. 0: unknown.
	PID int
	// At is when it was last seen at work.
	At time.Time
	// Every is how often it says so. 0: as it comes.
	Every time.Duration
}

// holderFormat has a fixed width, so that a full disk has room for it.
const holderFormat = "%010d %020d %020d\n"

// Beat notes in f, whose lock is held, that this process is at work, and how often
// it will say so; 0 promises nothing. Where that cannot be written, others may say
// that they are blocked.
func Beat(f *os.File, every time.Duration) {
	_, _ = f.WriteAt(fmt.Appendf(nil, holderFormat, os.Getpid(), time.Now().UnixNano(), every), 0)
}

// HolderOf reads who holds the lock of f, or held it last. One that wrote nothing
// is unknown.
func HolderOf(f *os.File) Holder {
	var pid int
	var at, every int64
	text := make([]byte, 64)
	n, _ := f.ReadAt(text, 0) // short
	if _, err := fmt.Sscanf(string(text[:n]), "%d %d %d", &pid, &at, &every); err != nil {
		return Holder{}
	}
	return Holder{PID: pid, At: time.Unix(0, at), Every: time.Duration(every)}
}
