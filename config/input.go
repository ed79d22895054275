package config

import (
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// sumFile condenses what was read from a file.
func sumFile(data []byte, err error) uint64 {
	h := fnv.New64a()
	if err != nil {
		_, _ = h.Write([]byte("error " + cause(err)))
	} else {
		_, _ = h.Write(append([]byte("data "), data...))
	}
	return h.Sum64()
}

// sumDir condenses the names in a folder of secrets.
func sumDir(entries []fs.DirEntry, err error) uint64 {
	h := fnv.New64a()
	if err != nil {
		_, _ = h.Write([]byte("error " + cause(err)))
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !e.IsDir() {
			_, _ = h.Write([]byte(e.Name() + "\x00"))
		}
	}
	return h.Sum64()
}

// input is a file or folder that a snapshot depends on, with the sum of what
// was read from it.
type input struct {
	path string
	dir  bool
	sum  uint64
	info fs.FileInfo // as it was after reading; nil where it is missing
}

func newInput(path string, dir bool, sum uint64) input {
	info, err := os.Stat(path)
	if err != nil {
		info = nil
	}
	return input{path, dir, sum, info}
}

// currentInput reads an input as it is now.
func currentInput(path string, dir bool) input {
	if dir {
		entries, err := os.ReadDir(path)
		return newInput(path, dir, sumDir(entries, err))
	}
	data, err := readFile(nil, path)
	return newInput(path, dir, sumFile(data, err))
}

// age is how long before now the input was last written. What no clock of this
// machine wrote is old.
func (in input) age(now time.Time) time.Duration {
	if in.info == nil {
		return writerTime
	}
	if age := now.Sub(in.info.ModTime()); age > -settleTime {
		return max(age, 0)
	}
	return writerTime
}

// differs reports that the input is not among those known, or has changed.
func (in input) differs(known []input) bool {
	i := slices.IndexFunc(known, func(k input) bool { return k.path == in.path })
	return i < 0 || known[i].sum != in.sum
}

// hasWriter reports a file that a process has open for writing, where the system
// tells, or has written to since it was read.
func (in input) hasWriter() bool {
	if in.info == nil || !in.info.Mode().IsRegular() {
		return false
	}
	if hasWriter(in.path) {
		return true
	}
	now, err := os.Stat(in.path)
	return err != nil || !now.ModTime().Equal(in.info.ModTime())
}

// restless returns how long to wait before inputs that were read at a time, and
// differ from those known, may be taken, and which input that is due to: none of
// them may have changed for settleTime by then, or for writerTime where it is
// still open for writing.
func restless(at time.Time, known, read []input) (wait time.Duration, path string) {
	for _, in := range read {
		if !in.differs(known) {
			continue
		}
		age := in.age(at)
		w := settleTime - age
		if w <= 0 && age < writerTime && in.hasWriter() {
			w = settleTime
		}
		if w > wait {
			wait, path = w, in.path
		}
	}
	return wait, path
}

// untouched reports whether both lists hold the same inputs with the same
// content, and nobody wrote to them in between.
func untouched(a, b []input) bool {
	return slices.EqualFunc(a, b, func(x, y input) bool {
		if x.path != y.path || x.sum != y.sum || (x.info == nil) != (y.info == nil) {
			return false
		}
		return x.info == nil || x.info.ModTime().Equal(y.info.ModTime())
	})
}

// without lists the inputs that are not among others.
func without(inputs, others []input) (out []input) {
	for _, in := range inputs {
		if !slices.ContainsFunc(others, func(o input) bool { return o.path == in.path }) {
			out = append(out, in)
		}
	}
	return out
}

// unsteady reports an input that looks as files do in the middle of being
// replaced: missing or empty.
func (in input) unsteady() bool {
	if in.dir {
		return false
	}
	return in.info == nil || in.info.Size() == 0
}

func sortedInputs(in []input) []input {
	slices.SortFunc(in, func(a, b input) int { return strings.Compare(a.path, b.path) })
	return slices.CompactFunc(in, func(a, b input) bool { return a.path == b.path })
}

// mergeInputs is first, and what is in second alone.
func mergeInputs(first, second []input) []input {
	return sortedInputs(append(slices.Clone(first), second...))
}

// consistent reports whether inputs in both lists have the same sums.
func consistent(a, b []input) bool {
	for _, x := range a {
		for _, y := range b {
			if x.path == y.path && x.sum != y.sum {
				return false
			}
		}
	}
	return true
}

// current reads all inputs as they are now.
func current(inputs []input) []input {
	out := make([]input, len(inputs))
	for i, in := range inputs {
		out[i] = currentInput(in.path, in.dir)
	}
	return out
}

// maxLinks bounds the symbolic links followed for one path.
const maxLinks = 40

// dependencies lists what decides on the content at path: every folder on the
// way with the name looked up in it, through symbolic links, and the file
// itself. Kubernetes mounts a settings file as a link to ..data/file, where
// ..data is a link that is swapped.
func dependencies(path string) (names []string) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return []string{path}
	}
	volume := filepath.VolumeName(abs) + string(filepath.Separator)
	rest := strings.Split(strings.TrimPrefix(abs, volume), string(filepath.Separator))

	at, links := volume, 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]

		switch part {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at)
			continue
		}

		next := filepath.Join(at, part)
		names = append(names, next)

		target, err := os.Readlink(next)
		if err != nil {
			at = next
			continue
		}

		if links++; links > maxLinks {
			return names
		}
		if filepath.IsAbs(target) {
			at = filepath.VolumeName(target) + string(filepath.Separator)
			target = strings.TrimPrefix(target, at)
		}

		rest = append(strings.Split(filepath.Clean(target), string(filepath.Separator)), rest...)
	}

	return names
}
