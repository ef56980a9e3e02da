"""The examples of all channels of all families."""

from __future__ import annotations

from payload_examples.channels import BACKEND_EXAMPLES, GPU_EXAMPLES
from payload_examples.kernel import EXAMPLES as KERNEL_EXAMPLES
from payload_examples.main import MAIN_EXAMPLES
from payload_examples.vfio_user import VFIO_USER_EXAMPLES

EXAMPLES = [*MAIN_EXAMPLES, *BACKEND_EXAMPLES, *GPU_EXAMPLES, *VFIO_USER_EXAMPLES, *KERNEL_EXAMPLES]
