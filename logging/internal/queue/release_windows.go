package queue

import (
	"errors"
	"io/fs"
	"os"
)

// renamesOpen says that an open file can be renamed.
const renamesOpen = false

// release closes f and runs change: an open file can be neither renamed nor
// removed. If another process did the same in between, there is nothing left
// to do.
func release(f *os.File, change func() error) error {
	if err := f.Close(); err != nil {
		return err
	}
	if err := change(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
