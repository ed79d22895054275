package browser

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"slices"
)

// Shrink rewrites a PNG with a palette of at most 256 colours, which is enough
// for text on plain areas and a third of the size.
func Shrink(in []byte) ([]byte, error) {
	src, err := png.Decode(bytes.NewReader(in))
	if err != nil {
		return nil, fmt.Errorf("browser: shrink picture: %w", err)
	}
	b := src.Bounds()

	counts := map[color.RGBA]int{}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			counts[color.RGBAModel.Convert(src.At(x, y)).(color.RGBA)]++
		}
	}

	palette, index := quantize(counts, 256)
	dst := image.NewPaletted(b, palette)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			dst.SetColorIndex(x, y, index[color.RGBAModel.Convert(src.At(x, y)).(color.RGBA)])
		}
	}

	var out bytes.Buffer
	enc := png.Encoder{CompressionLevel: png.BestCompression}
	if err := enc.Encode(&out, dst); err != nil {
		return nil, fmt.Errorf("browser: shrink picture: %w", err)
	}
	return out.Bytes(), nil
}

// quantize chooses at most n colours by median cut: the box of colours with
// the largest weighted spread is halved until there are enough. It returns
// them and the place of each colour among them.
func quantize(counts map[color.RGBA]int, n int) (color.Palette, map[color.RGBA]uint8) {
	type entry struct {
		c color.RGBA
		n int
	}
	var all []entry
	for c, k := range counts {
		all = append(all, entry{c, k})
	}

	value := func(e entry, channel int) int { return int([3]uint8{e.c.R, e.c.G, e.c.B}[channel]) }
	order := func(channel int) func(a, b entry) int {
		return func(a, b entry) int {
			return cmp.Or(value(a, channel)-value(b, channel), value(a, 0)-value(b, 0), value(a, 1)-value(b, 1), value(a, 2)-value(b, 2))
		}
	}
	slices.SortFunc(all, order(0)) // maps have no order; the picture shall be the same each time

	// spread returns the widest channel of a box and how urgent its division is.
	spread := func(box []entry) (channel, width int) {
		for c := range 3 {
			lo, hi := 255, 0
			for _, e := range box {
				lo, hi = min(lo, value(e, c)), max(hi, value(e, c))
			}
			if hi-lo > width {
				channel, width = c, hi-lo
			}
		}
		return channel, width
	}

	boxes := [][]entry{all}
	for len(boxes) < n {
		widest, channel, most := -1, 0, 0
		for i, box := range boxes {
			if c, w := spread(box); w > most {
				widest, channel, most = i, c, w
			}
		}
		if widest < 0 {
			break
		}

		box := boxes[widest]
		slices.SortFunc(box, order(channel))
		half := (value(box[0], channel) + value(box[len(box)-1], channel)) / 2
		cut := slices.IndexFunc(box, func(e entry) bool { return value(e, channel) > half })
		boxes[widest] = box[:cut]
		boxes = append(boxes, box[cut:])
	}

	palette, index := color.Palette{}, map[color.RGBA]uint8{}
	for i, box := range boxes {
		// The most frequent colour stands for its box, so that plain areas
		// keep theirs exactly.
		best := slices.MaxFunc(box, func(a, b entry) int { return a.n - b.n })
		palette = append(palette, best.c)
		for _, e := range box {
			index[e.c] = uint8(i)
		}
	}

	return palette, index
}
