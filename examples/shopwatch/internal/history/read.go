package history

import (
	"encoding/binary"
	"encoding/json"
	"fmt"

	"go.etcd.io/bbolt"
)

// Runs returns up to n runs, the newest first.
func (s *Store) Runs(n int) ([]Run, error) {
	var out []Run
	err := s.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRuns).Cursor()
		for k, v := c.Last(); k != nil && len(out) < n; k, v = c.Prev() {
			var r Run
			if err := json.Unmarshal(v, &r); err != nil {
				return fmt.Errorf("run %d: %w", binary.BigEndian.Uint64(k), err)
			}
			out = append(out, r)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("history: read runs: %w", err)
	}
	return out, nil
}

// Run returns one run; found is false where it is not kept.
func (s *Store) Run(id uint64) (run Run, found bool, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketRuns).Get(number(id))
		if v == nil {
			return nil
		}
		found = true
		return json.Unmarshal(v, &run)
	})
	if err != nil {
		return Run{}, false, fmt.Errorf("history: read run %d: %w", id, err)
	}
	return run, found, nil
}

// Changes returns what a run found to differ.
func (s *Store) Changes(run uint64) (out []Change, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		out, err = changes(tx, run)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("history: read changes: %w", err)
	}
	return out, nil
}

// Items returns every item in the order of its identity, with its last maxPoints
// prices; a negative number means all of them.
func (s *Store) Items(maxPoints int) ([]Item, error) {
	var out []Item
	err := s.db.View(func(tx *bbolt.Tx) error {
		points := tx.Bucket(bucketPoints)
		return tx.Bucket(bucketItems).ForEach(func(k, v []byte) error {
			var rec itemRecord
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("item %s: %w", k, err)
			}

			item := Item{Item: rec.Item, FirstSeen: rec.FirstSeen, LastSeen: rec.LastSeen, Gone: rec.Gone}
			var err error
			if item.Points, err = lastPoints(points, k, maxPoints); err != nil {
				return fmt.Errorf("prices of %s: %w", rec.URL, err)
			}
			out = append(out, item)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("history: read items: %w", err)
	}
	return out, nil
}
