package serving

import (
	"strconv"

	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
)

type object = map[string]any

// status is GetModelStatusResponse (get_model_status.proto).
func status(versions []int) any {
	list := make([]object, len(versions))
	for i, v := range versions {
		list[i] = object{
			"version": strconv.Itoa(v), "state": "AVAILABLE",
			"status": object{"error_code": "OK", "error_message": ""},
		}
	}
	return object{"model_version_status": list}
}

// metadata is GetModelMetadataResponse (get_model_metadata.proto). The names
// of features and classes stand beside it under "svcblocks": TensorFlow's
// signatures know tensors, and not what their columns mean.
func metadata(name string, version int, spec model.Spec) any {
	tensor := func(name string, columns int) object {
		return object{name: object{
			"dtype": "DT_FLOAT", "name": name + ":0",
			"tensor_shape": object{"dim": []object{{"size": "-1", "name": ""}, {"size": strconv.Itoa(columns), "name": ""}}, "unknown_rank": false},
		}}
	}
	signature := object{
		"inputs": tensor(inputName, len(spec.Features)), "outputs": tensor(outputName, len(spec.Classes)),
		"method_name": "tensorflow/serving/predict",
	}
	return object{
		"model_spec": object{"name": name, "signature_name": "", "version": strconv.Itoa(version)},
		"metadata":   object{"signature_def": object{"signature_def": object{predictSignature: signature}}},
		"svcblocks":  object{"features": spec.Features, "classes": spec.Classes, "fingerprint": spec.Fingerprint},
	}
}
