package filelock

import (
	"fmt"
	"os"
	"strconv"
	"strings"
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
	text := make([]byte, 64)
	n, _ := f.ReadAt(text, 0) // short
	words := strings.Fields(string(text[:n]))
	if len(words) != 3 {
		return Holder{}
	}

	// fmt.Sscanf would bring 20 KB along.
	var numbers [3]int64
	for i, word := range words {
		var err error
		if numbers[i], err = strconv.ParseInt(word, 10, 64); err != nil {
			return Holder{}
		}
	}
	return Holder{PID: int(numbers[0]), At: time.Unix(0, numbers[1]), Every: time.Duration(numbers[2])}
}
