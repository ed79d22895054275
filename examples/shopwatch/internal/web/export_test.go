package web

// For the tests of the formats and of the plots' geometry.
var (
	Span       = span
	Ago        = ago
	Size       = size
	Money      = money
	Count      = count[int64]
	ShortAgent = shortAgent
	NewPlot    = newPlot

	AcceptsGzip = acceptsGzip
)

// Plot is a plot's geometry.
type Plot = plot
