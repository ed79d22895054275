package history

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
)

// maxKey bounds an item's key; bbolt takes keys up to 32 KiB, and a point's
// key is longer than its item's.
const maxKey = 2048

// itemKey returns what an item is stored under: its identity, or where that is
// very long, its beginning and its hash.
func itemKey(identity string) []byte {
	if len(identity) <= maxKey {
		return []byte(identity)
	}
	sum := sha256.Sum256([]byte(identity))
	return append([]byte(identity[:maxKey-len(sum)]), sum[:]...)
}

// pointPrefix begins with the key's length, so that no item's points begin
// with the prefix of another's.
func pointPrefix(item []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(item))), item...)
}

func pointKey(item []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(pointPrefix(item), uint64(t.UnixNano()))
}

// pointValue is a price in a few bytes: there are many of them.
func pointValue(p extract.Price) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(p.Cents)), p.Currency...)
}

func readPoint(prefix, k, v []byte) (Point, error) {
	if len(k) != len(prefix)+8 || len(v) < 8 {
		return Point{}, ErrDamaged
	}
	return Point{
		Time:  time.Unix(0, int64(binary.BigEndian.Uint64(k[len(prefix):]))).UTC(),
		Price: extract.Price{Cents: int64(binary.BigEndian.Uint64(v)), Currency: string(v[8:])},
	}, nil
}

// lastPoints returns up to limit points of an item, oldest first; a negative
// limit means all.
func lastPoints(b *bbolt.Bucket, item []byte, limit int) ([]Point, error) {
	prefix := pointPrefix(item)
	after := append(bytes.Clone(prefix), bytes.Repeat([]byte{0xFF}, 9)...) // behind every time
	c := b.Cursor()
	step := c.Prev
	if k, _ := c.Seek(after); k == nil {
		step = c.Last
	}

	var out []Point
	for k, v := step(); bytes.HasPrefix(k, prefix) && len(out) != limit; k, v = c.Prev() {
		p, err := readPoint(prefix, k, v)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}

	slices.Reverse(out)
	return out, nil
}

// number makes keys sort by value.
func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func put(b *bbolt.Bucket, key []byte, value any) error {
	v, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Put(key, v)
}

func hasPrefix(b *bbolt.Bucket, prefix []byte) bool {
	k, _ := b.Cursor().Seek(prefix)
	return bytes.HasPrefix(k, prefix)
}

func eachPrefix(b *bbolt.Bucket, prefix []byte, fn func(k, v []byte) error) error {
	c := b.Cursor()
	for k, v := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if err := fn(k, v); err != nil {
			return err
		}
	}
	return nil
}

func deletePrefix(b *bbolt.Bucket, prefix []byte) error {
	c := b.Cursor()
	// Seek anew after each Delete: it leaves the cursor at an unspecified place.
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := c.Delete(); err != nil {
			return err
		}
	}
	return nil
}
