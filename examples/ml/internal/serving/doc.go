// Package serving answers TensorFlow Serving's REST API for the models of this
// sample, so that clients written for TensorFlow Serving work here.
//
//	GET  /v1/models/NAME[/versions/N]             which versions there are
//	GET  /v1/models/NAME[/versions/N]/metadata    what goes in and comes out
//	POST /v1/models/NAME[/versions/N]:predict     {"instances": rows} or {"inputs": rows}
//	POST /v1/models/NAME[/versions/N]:classify    {"examples": [{"feature": value}]}
//
// The contract is the page "RESTful API" of TensorFlow Serving
// (https://www.tensorflow.org/tfx/serving/api_rest). A model here has one input
// tensor, "features", and one output tensor, "probabilities". Labels in place
// of versions are answered 404, as none are assigned here.
package serving
