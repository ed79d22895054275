package redact

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unsafe"
)

// text is what can be searched.
type text interface{ string | []byte }

// view returns s as a string without copying it. The string must not outlive
// the call that got s.
func view[T text](s T) string {
	switch s := any(s).(type) {
	case string:
		return s
	case []byte:
		return unsafe.String(unsafe.SliceData(s), len(s))
	}
	return ""
}

// index finds many forms in one pass, after Wu and Manber ("A fast algorithm
// for multi-pattern searching", 1994): a window as long as the shortest form
// moves over the text, and the last three bytes in it say how far it may jump
// before any form can begin. Text without a secret is mostly jumped over.
type index struct {
	window int     // length of the shortest form, at most maxWindow
	jumps  []uint8 // by hash of three bytes; 0: a form may stand in the window
	shift  uint    // of the hash
	chains map[uint32][]form
	sorted []*start // pointers, as their sort is linked once for all types

	longest int // length of the longest form
}

// start is the text of a form of which a part may stand before an ellipsis.
type start struct {
	text  string
	least int // bytes from which on the part is taken for one
}

// maxWindow bounds the window: longer ones fill the table of jumps and gain
// little.
const maxWindow = 32

// newIndex returns nil for no forms.
func newIndex(all []form) *index {
	if len(all) == 0 {
		return nil
	}
	forms := make([]*form, len(all))
	for i := range all {
		forms[i] = &all[i]
	}
	slices.SortFunc(forms, func(a, b *form) int { // the longest first: it hides the shorter
		if len(a.text) != len(b.text) {
			return len(b.text) - len(a.text)
		}
		return strings.Compare(a.text, b.text)
	})
	forms = slices.CompactFunc(forms, func(a, b *form) bool { return a.text == b.text })

	x := &index{window: min(len(forms[len(forms)-1].text), maxWindow), longest: len(forms[0].text), chains: map[uint32][]form{}}

	// Four entries for each block of three bytes keep most of them at the
	// longest jump.
	size := uint(bits.Len(uint(4 * len(forms) * x.window)))
	size = min(max(size, 8), 18)
	x.shift = 32 - size
	x.jumps = bytes.Repeat([]byte{uint8(x.window - 2)}, 1<<size)

	for _, f := range forms {
		for end := 3; end <= x.window; end++ {
			at := &x.jumps[x.hash(block(f.text, end))]
			*at = min(*at, uint8(x.window-end))
		}
		last := block(f.text, x.window)
		x.chains[last] = append(x.chains[last], *f)
		x.sorted = append(x.sorted, &start{f.text, max(minBytes, public(f.text)+1)})
	}
	slices.SortFunc(x.sorted, func(a, b *start) int { return strings.Compare(a.text, b.text) })
	return x
}

// block returns the three bytes of s before end. There must be four of them.
func block(s string, end int) uint32 {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	if end == 3 {
		return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16
	}
	return binary.LittleEndian.Uint32(b[end-4:end]) >> 8
}

func (x *index) hash(block uint32) uint32 { return block * 0x9e3779b1 >> x.shift }

// next returns the first range of s, from the given byte on, that forms cover:
// forms that overlap or touch are one range. It returns -1 if there is none.
func (x *index) next(s string, from int) (begin, end int) {
	begin = -1
	for at := from + x.window; at <= len(s); {
		if begin >= 0 && at-x.window > end {
			break // nothing further touches the range
		}

		b := block(s, at)
		if jump := x.jumps[x.hash(b)]; jump > 0 {
			at += int(jump)
			continue
		}

		if lo, hi := x.at(s, at-x.window, b); hi > 0 {
			if begin < 0 {
				begin = max(lo, from)
			}
			end = max(end, hi)
		}
		at++
	}
	return begin, end
}

// at returns the range that the longest form covers which begins at i.
func (x *index) at(s string, i int, b uint32) (lo, hi int) {
	for _, f := range x.chains[b] {
		if !strings.HasPrefix(s[i:], f.text) || inMask(s, i, len(f.text)) {
			continue
		}
		lo, hi = i, i+len(f.text)
		if f.left && lo > 0 && isBase64(s[lo-1]) {
			lo--
		}
		if f.right && hi < len(s) && isBase64(s[hi]) {
			hi++
		}
		return lo, hi
	}
	return 0, 0
}

// inMask reports whether s[i:i+n] is part of a Mask, which hides nothing.
func inMask(s string, i, n int) bool {
	if n > len(Mask) {
		return false
	}
	from, to := max(0, i+n-len(Mask)), min(len(s), i+len(Mask))
	return strings.Contains(s[from:to], Mask)
}

// nextCut returns the first range of s, from the given byte on, that is the
// start of a form and ends before an ellipsis. It returns -1 if there is none.
func (x *index) nextCut(s string, from int) (begin, end int) {
	for done := from; ; {
		i := strings.Index(s[done:], ellipsis)
		if i < 0 {
			return -1, 0
		}
		end = done + i
		// Nothing before the last ellipsis is looked at again, so that a text full
		// of them costs no more than its length.
		for begin = max(done, end-x.longest); begin <= end-minBytes; begin++ {
			if x.isStart(s[begin:end]) {
				return begin, end
			}
		}
		done = end + len(ellipsis)
	}
}

// isStart reports whether a form begins with s.
func (x *index) isStart(s string) bool {
	i, _ := slices.BinarySearchFunc(x.sorted, s, func(a *start, s string) int { return strings.Compare(a.text, s) })
	for ; i < len(x.sorted) && strings.HasPrefix(x.sorted[i].text, s); i++ {
		if len(s) >= x.sorted[i].least {
			return true
		}
	}
	return false
}

// public returns how many bytes at the beginning of a form are no secret: the
// scheme and the host of a webhook's address.
func public(form string) int {
	i := strings.Index(form, "://")
	if i < 0 {
		return 0
	}
	host := i + len("://")
	if n := strings.IndexAny(form[host:], "/?#"); n >= 0 && !strings.Contains(form[host:host+n], "@") {
		return host + n + 1
	}
	return host
}
