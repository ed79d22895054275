// Package tfserving is a client of TensorFlow Serving's REST API, and so of
// everything that speaks it, such as the server of this sample.
//
//	c, err := tfserving.New("http://127.0.0.1:8501", nil)
//	…
//	answer, err := c.Predict(ctx, tfserving.Model{Name: "half_plus_three"},
//		tfserving.Request{Instances: []float64{1, 2, 5}})
//	…
//	values, err := tfserving.Floats(answer) // [3.5 4 5.5]
//
// It follows the page "RESTful API" of TensorFlow Serving
// (https://www.tensorflow.org/tfx/serving/api_rest), also where that leaves
// JSON: NaN, Infinity and -Infinity stand as bare words, and bytes as an object
// {"b64": "…"}. Values are Go's: bool, int64, float64, string, []byte, []any
// and map[string]any come back; numbers, strings, booleans, []byte, and slices
// and maps of these can be sent.
package tfserving
