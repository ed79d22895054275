package typed

import (
	"fmt"
	"slices"
	"strings"
)

// Nearest names the candidate that text most likely stands for, as a hint, or
// "" where none is near.
func Nearest(text string, candidates []string) string {
	slices.Sort(candidates)
	best, distance := "", len(text)/3+2

	fold := foldKey(text)
	for _, c := range candidates {
		d := 0
		if foldKey(c) != fold {
			d = editDistance(fold, foldKey(c), distance) + 1
		}
		if d < distance {
			best, distance = c, d
		}
	}

	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// NearMiss is Nearest for text that is as good as a candidate: one edit away, or
// two, where the text is long enough for that to mean something.
func NearMiss(text string, candidates []string) string {
	slices.Sort(candidates)
	for _, limit := range []int{1, 2} {
		for _, c := range candidates {
			if len(foldKey(c)) < 3*limit {
				continue
			}
			if editDistance(foldKey(text), foldKey(c), limit+1) <= limit {
				return fmt.Sprintf("did you mean %q?", c)
			}
		}
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "", ".", "")

// foldKey ignores what people vary in a key: case and separators.
func foldKey(text string) string { return strings.ToLower(separators.Replace(text)) }

// editDistance is the optimal string alignment distance, or a value of at
// least limit where it is larger.
func editDistance(a, b string, limit int) int {
	if abs := len(a) - len(b); abs >= limit || -abs >= limit {
		return limit
	}
	before, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}

	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}

	return prev[len(b)]
}
