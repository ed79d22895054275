package history

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// ErrDamaged says that the file is not what was written to it: cut short, or
// changed by somebody else.
var ErrDamaged = errors.New("the file is damaged")

// openSound opens the database and reads all of it once. bbolt maps the file
// into memory and believes what it finds there: a file that was cut short would
// end the process at some later read.
func openSound(path string, opts *bbolt.Options) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			// A db whose own Open panicked is out of reach; it holds the file
			// until the process ends, which is soon after this error.
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
			if db != nil {
				err = errors.Join(err, db.Close())
				db = nil
			}
		}
	}()

	if db, err = bbolt.Open(path, 0o600, opts); err != nil {
		return nil, err
	}
	if err = db.View(func(tx *bbolt.Tx) error { return readAll(path, tx) }); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func readAll(path string, tx *bbolt.Tx) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), tx.Size())
	}

	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if b == nil {
			return fmt.Errorf("%w: bucket %.20q", ErrDamaged, name)
		}
		points := bytes.Equal(name, bucketPoints)
		return b.ForEach(func(k, v []byte) error {
			if points && len(v) < 8 || !points && !json.Valid(v) {
				return fmt.Errorf("%w: %s %.20q", ErrDamaged, name, k)
			}
			return nil
		})
	})
}
