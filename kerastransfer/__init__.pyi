from kerastransfer.api import (
    PixelLoss as PixelLoss,
)
from kerastransfer.api import (
    batches as batches,
)
from kerastransfer.api import (
    classifier as classifier,
)
from kerastransfer.api import (
    data as data,
)
from kerastransfer.api import (
    detector as detector,
)
from kerastransfer.api import (
    encoder as encoder,
)
from kerastransfer.api import (
    evaluate as evaluate,
)
from kerastransfer.api import (
    export as export,
)
from kerastransfer.api import (
    from_preset as from_preset,
)
from kerastransfer.api import (
    load as load,
)
from kerastransfer.api import (
    push as push,
)
from kerastransfer.api import (
    save as save,
)
from kerastransfer.api import (
    segmenter as segmenter,
)
from kerastransfer.api import (
    validation_batches as validation_batches,
)

__version__: str
