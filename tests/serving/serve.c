/* Runs one signature of a SavedModel with libtensorflow alone: no Python in sight.
 *
 *   serve MODEL OUTPUT... -- NAME s ROWS COLUMNS VALUE... NAME i VALUE...
 *
 * Inputs and outputs are tensors of the graph, as "operation:index"; "s" is a matrix of
 * strings, "S" the same with one dimension more, "i" a scalar int32. Every output is
 * printed on a separate line: floats with nine digits, strings as they are. An error
 * is printed and ends the program with its TensorFlow code.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

static void check(TF_Status* status) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "code %d: %s\n", TF_GetCode(status), TF_Message(status));
  exit(TF_GetCode(status));
}

static TF_Output find(TF_Graph* graph, const char* tensor) {
  char name[256];
  const char* colon = strrchr(tensor, ':');
  snprintf(name, sizeof name, "%.*s", (int)(colon - tensor), tensor);
  TF_Output output = {TF_GraphOperationByName(graph, name), atoi(colon + 1)};
  if (!output.oper) {
    fprintf(stderr, "no operation %s\n", name);
    exit(100);
  }
  return output;
}

static TF_Tensor* strings(int rank, char** argument, int count) {
  int64_t shape[3] = {atoi(argument[0]), atoi(argument[1]), 1};
  TF_Tensor* tensor = TF_AllocateTensor(TF_STRING, shape, rank, count * sizeof(TF_TString));
  TF_TString* values = TF_TensorData(tensor);
  for (int i = 0; i < count; ++i) {
    TF_TString_Init(&values[i]);
    TF_TString_Copy(&values[i], argument[2 + i], strlen(argument[2 + i]));
  }
  return tensor;
}

static void print(TF_Tensor* tensor) {
  int64_t count = TF_TensorElementCount(tensor);
  for (int64_t i = 0; i < count; ++i) {
    const void* data = TF_TensorData(tensor);
    if (i) printf("\t");
    if (TF_TensorType(tensor) == TF_FLOAT) printf("%.9g", ((const float*)data)[i]);
    if (TF_TensorType(tensor) == TF_BOOL) printf("%d", ((const char*)data)[i]);
    if (TF_TensorType(tensor) == TF_STRING) {
      const TF_TString* text = (const TF_TString*)data + i;
      printf("%.*s", (int)TF_TString_GetSize(text), TF_TString_GetDataPointer(text));
    }
  }
  printf("\n");
}

int main(int argc, char** argv) {
  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1,
                                                     graph, NULL, status);
  check(status);

  TF_Output outputs[8], inputs[8];
  TF_Tensor *results[8] = {NULL}, *values[8];
  int n_outputs = 0, n_inputs = 0, i = 2;
  for (; strcmp(argv[i], "--"); ++i) outputs[n_outputs++] = find(graph, argv[i]);
  for (++i; i < argc; ++n_inputs) {
    inputs[n_inputs] = find(graph, argv[i++]);
    const char* type = argv[i++];
    if (*type == 'i') {
      int32_t number = atoi(argv[i++]);
      values[n_inputs] = TF_AllocateTensor(TF_INT32, NULL, 0, sizeof number);
      memcpy(TF_TensorData(values[n_inputs]), &number, sizeof number);
    } else {
      int count = atoi(argv[i]) * atoi(argv[i + 1]);
      values[n_inputs] = strings(*type == 'S' ? 3 : 2, argv + i, count);
      i += 2 + count;
    }
  }
  TF_SessionRun(session, NULL, inputs, values, n_inputs, outputs, results, n_outputs,
                NULL, 0, NULL, status);
  check(status);
  for (int j = 0; j < n_outputs; ++j) print(results[j]);
  return 0;
}
